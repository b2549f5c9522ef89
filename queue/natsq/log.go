package natsq

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	recordVersion = 1
	// fullRecord is the size at which a record is written before there is more in it.
	fullRecord = 384 << 10
	// minPayload is the least that a server must take in one message: a record with
	// the largest task there can be.
	minPayload = 1 << 20
	// appendPatience is how long a record may take to be stored.
	appendPatience = 10 * time.Second
	// recentRecords is how much of the log's end is kept in memory, in bytes, for data that
	// is not.
	recentRecords = 8 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	// errDeposed means that somebody else has written to the log.
	errDeposed = errors.New("somebody else keeps the queue")
	// errDamaged means that what is stored is not what was written.
	errDamaged = errors.New("the store is damaged")
)

// log is a queue's log: a stream whose messages are records. One keeper at a time writes
// it, because a record says which one it follows, and the server takes none that
// follows another. What may be read while it is written are its first and last numbers.
type log struct {
	js     jetstream.JetStream
	conn   *nats.Conn
	stream string
	to     string // the subject
	limit  func(context.Context, time.Duration) (context.Context, context.CancelFunc)

	last    uint64 // the record that was written or read last
	floor   uint64 // records up to this are not needed, and may be deleted
	sizes   []written
	size    int64 // of all records
	recents []recent
	recent  int64
}

// written is a record that is in the log.
type written struct {
	record uint64
	size   int64
}

// recent is a record whose bytes are in memory.
type recent struct {
	record uint64
	bytes  []byte
}

// append writes a record, and returns when it is stored. When no answer comes, because the
// connection is lost or the server is being restarted, it looks whether the record is
// there, and writes it again if it is not, for as long as nobody else has written one.
func (l *log) append(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, appendPatience)
	defer cancel()
	for {
		err := l.publish(ctx, body)
		if err == nil {
			l.keep(l.last+1, body)
			return nil
		}
		if lasting(err) {
			return err
		}
		switch there, sought := l.has(ctx, body); {
		case sought != nil && ctx.Err() != nil:
			return err
		case sought != nil: // which may be for the same reason
			if pause(ctx, pauseFor) != nil {
				return err
			}
		case there:
			l.keep(l.last+1, body)
			return nil
		case errors.Is(err, errDeposed):
			return err
		}
	}
}

// publish writes a record once.
func (l *log) publish(ctx context.Context, body []byte) error {
	ctx, cancel := l.limit(ctx, answerPatience)
	defer cancel()
	msg := &nats.Msg{Subject: l.to, Data: body}
	ack, err := l.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequence(l.last),
		jetstream.WithExpectStream(l.stream), jetstream.WithRetryAttempts(0))
	var refused *jetstream.APIError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return errDeposed
	case err == nil && ack.Sequence != l.last+1:
		return fmt.Errorf("%w: record %d was stored as %d", errDamaged, l.last+1, ack.Sequence)
	}
	return err
}

// has tells whether the next record is there. It is an error if another one is.
func (l *log) has(ctx context.Context, body []byte) (bool, error) {
	ctx, cancel := l.limit(ctx, answerPatience)
	defer cancel()
	s, err := l.js.Stream(ctx, l.stream)
	if err != nil {
		return false, err
	}
	if s.CachedInfo().State.LastSeq == l.last {
		return false, nil
	}
	msg, err := s.GetMsg(ctx, l.last+1)
	return err == nil && bytes.Equal(msg.Data, body), err
}

// keep notes that a record is in the log.
func (l *log) keep(record uint64, body []byte) {
	l.last = record
	l.sizes = append(l.sizes, written{record, int64(len(body))})
	l.size += int64(len(body))
	l.recents = append(l.recents, recent{record, body})
	l.recent += int64(len(body))
	n := 0
	for l.recent > recentRecords && n < len(l.recents)-1 {
		l.recent -= int64(len(l.recents[n].bytes))
		n++
	}
	clear(l.recents[:n])
	l.recents = l.recents[n:]
}

// fetch reads data that is not in memory.
func (l *log) fetch(ctx context.Context, p *place) ([]byte, error) {
	body, err := l.read(ctx, p.record)
	if err != nil {
		return nil, err
	}
	if p.from < 0 || p.n < 0 || p.from+p.n > len(body) {
		return nil, fmt.Errorf("%w: record %d is too short", errDamaged, p.record)
	}
	return body[p.from : p.from+p.n], nil
}

// read returns a record. Its bytes must not be changed.
func (l *log) read(ctx context.Context, record uint64) ([]byte, error) {
	if n := len(l.recents); n > 0 && record >= l.recents[0].record && record <= l.recents[n-1].record {
		return l.recents[record-l.recents[0].record].bytes, nil
	}
	ctx, cancel := l.limit(ctx, appendPatience)
	defer cancel()
	s, err := l.js.Stream(ctx, l.stream)
	if err != nil {
		return nil, err
	}
	msg, err := s.GetMsg(ctx, record)
	if err != nil {
		return nil, err
	}
	return msg.Data, sound(record, msg.Data)
}

// readAll reads the log from its beginning to its end, and calls take for each record.
func (l *log) readAll(ctx context.Context, take func(record uint64, body []byte) error) error {
	for next := uint64(1); ; {
		n, err := l.readSome(ctx, next, func(record uint64, body []byte) error {
			if len(l.sizes) > 0 && record != l.last+1 {
				return l.missing(ctx, l.last+1, record-1)
			}
			if err := sound(record, body); err != nil {
				return err
			}
			body = bytes.Clone(body)
			l.keep(record, body)
			next = record + 1
			return take(record, body)
		})
		if err != nil || n == 0 {
			return err
		}
	}
}

// missing is why records did not come: the server has none, or they were lost on the way with the
// connection. Who leads the stream knows.
func (l *log) missing(ctx context.Context, from, to uint64) error {
	ctx, cancel := l.limit(ctx, answerPatience)
	defer cancel()
	s, err := l.js.Stream(ctx, l.stream)
	if err != nil {
		return err
	}
	if state := s.CachedInfo().State; state.FirstSeq > from || state.NumDeleted > 0 {
		return fmt.Errorf("%w: records %d to %d are missing", errDamaged, from, to)
	}
	return errors.New("reading the log: messages were lost with the connection")
}

// readSome reads up to a number of records from one on.
func (l *log) readSome(ctx context.Context, from uint64, take func(uint64, []byte) error) (n int, err error) {
	ctx, cancel := l.limit(ctx, appendPatience)
	defer cancel()
	inbox := l.conn.NewInbox()
	sub, err := l.conn.SubscribeSync(inbox)
	if err != nil {
		return 0, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	_ = sub.SetPendingLimits(-1, -1)
	ask, err := json.Marshal(map[string]any{"seq": from, "batch": 256, "max_bytes": 8 << 20})
	if err != nil {
		return 0, err
	}
	if err := l.conn.PublishRequest("$JS.API.DIRECT.GET."+l.stream, inbox, ask); err != nil {
		return 0, err
	}
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return n, err
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
		case "204", "404": // the end of what was asked for, or nothing there
			return n, nil
		default:
			return n, fmt.Errorf("reading the log: status %s %s", status, msg.Header.Get("Description"))
		}
		record, err := strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return n, fmt.Errorf("reading the log: %w", err)
		}
		if err := take(record, msg.Data); err != nil {
			return n, err
		}
		n++
	}
}

// cut returns the record up to which the log is to be cut next, so that about so many
// bytes go.
func (l *log) cut(size int64) uint64 {
	for _, w := range l.sizes {
		if size -= w.size; size <= 0 {
			return w.record
		}
	}
	return 0
}

// forget notes that records up to one will not be read any more.
func (l *log) forget(cut uint64) {
	n := 0
	for n < len(l.sizes) && l.sizes[n].record <= cut {
		l.size -= l.sizes[n].size
		n++
	}
	l.sizes = append(l.sizes[:0:0], l.sizes[n:]...)
}

// seal ends a record with a checksum.
func seal(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
}

// sound checks a record's checksum.
func sound(record uint64, body []byte) error {
	n := len(body) - 4
	if n < 0 || binary.LittleEndian.Uint32(body[n:]) != crc32.Checksum(body[:n], castagnoli) {
		return fmt.Errorf("%w: record %d is not what was written", errDamaged, record)
	}
	return nil
}
