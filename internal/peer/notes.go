package peer

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// Log records and progress reports travel on one stream of their own, so that
// a slow log handler of the caller's slows down the function that logs, by
// credit, and nothing else. A result says how many notes came before it; it is
// kept back until those were handled, so a call's records are always seen
// before its result.

// notes is the caller's end and the worker's end of that stream.
type notes struct {
	sending sync.Mutex  // worker: never waited for by the link's reader or its end
	stream  *mux.Stream // nil until the first note
	sent    uint64

	mu      sync.Mutex // caller: guards the following
	handled uint64
	held    []heldResult
	over    bool
	reading bool
	streams map[uint64]func(Note) // who listens to the notes of what a stream runs
}

type heldResult struct {
	after uint64
	do    func()
}

// note sends one and returns its number. It waits for credit.
func (c *Conn) note(ctx context.Context, build func([]byte) []byte) (uint64, error) {
	n := &c.notes
	item := build(nil) // it calls methods of the user's, which may log
	n.sending.Lock()
	defer n.sending.Unlock() // the order of numbers is the order of the stream
	if n.stream == nil {
		s, err := c.session.Open([]byte{wire.PurposeNotes}, mux.StreamOptions{})
		if err != nil {
			return 0, err
		}
		n.stream = s
	}
	if err := n.stream.Send(ctx, item, nil); err != nil {
		return 0, err
	}
	n.sent++
	c.session.Sync() // live, and before the process can end
	return n.sent, nil
}

func (n *notes) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	ok := !n.reading && !n.over
	n.reading = true
	return ok
}

// readNotes handles the far side's notes until the stream ends.
func (c *Conn) readNotes(s *mux.Stream) {
	defer c.reading.Done()
	for {
		item, err := s.Recv(context.Background()) // ends with the link
		if err != nil {
			c.notes.end()
			return
		}
		note, err := parseNote(item)
		if err != nil {
			c.session.Fail(err)
			return
		}
		if listen := c.listener(note.Stream); listen != nil {
			listen(*note)
		} else {
			c.config.Notes(*note)
		}
		c.notes.advance()
	}
}

func (n *notes) advance() {
	n.mu.Lock()
	n.handled++
	var ready []func()
	rest := n.held[:0]
	for _, h := range n.held {
		if h.after <= n.handled {
			ready = append(ready, h.do)
		} else {
			rest = append(rest, h)
		}
	}
	n.held = rest
	n.mu.Unlock()
	for _, do := range ready {
		do()
	}
}

func (n *notes) end() {
	n.mu.Lock()
	n.over = true
	held := n.held
	n.held = nil
	n.mu.Unlock()
	for _, h := range held {
		h.do()
	}
}

// AfterNotes calls do once so many notes were handled, or no more will come.
func (c *Conn) AfterNotes(count uint64, do func()) {
	n := &c.notes
	n.mu.Lock()
	if n.handled < count && !n.over {
		n.held = append(n.held, heldResult{count, do})
		n.mu.Unlock()
		return
	}
	n.mu.Unlock()
	do()
}

// WaitNotes waits as AfterNotes does, for as long as ctx lasts; the error is its
// cause.
func (c *Conn) WaitNotes(ctx context.Context, count uint64) error {
	n := &c.notes
	n.mu.Lock()
	late := n.handled < count && !n.over
	n.mu.Unlock()
	if !late {
		return nil
	}
	done := make(chan struct{})
	c.AfterNotes(count, func() { close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func parseNote(item []byte) (*Note, error) {
	r := wire.NewReader(item)
	n := &Note{}
	kind := r.Byte()
	if kind&noteStreamed == 0 {
		n.Chunk, n.Index = r.Uvarint(), r.Int()
	} else {
		n.Stream, n.Request = r.Uvarint(), r.Uvarint()
	}
	switch kind &^ noteStreamed {
	case noteRecord:
		n.Record = ParseRecord(r)
	case noteProgress:
		n.Done, n.Total = r.Varint(), r.Varint()
	default:
		return nil, fmt.Errorf("%w: unknown note", wire.ErrMalformed)
	}
	return n, r.End()
}

const (
	noteRecord byte = iota
	noteProgress
	noteStreamed // added to those: of what runs on a stream, not of a call
)

func (r *Running) appendNote(kind byte, dst []byte) []byte {
	if s := r.stream; s != nil {
		dst = append(dst, kind|noteStreamed)
		return binary.AppendUvarint(binary.AppendUvarint(dst, s.stream), s.request)
	}
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, r.chunk.id)
	return binary.AppendUvarint(dst, uint64(r.index))
}

// note sends a note of the call's, for as long as the link lasts.
func (r *Running) note(build func([]byte) []byte) error {
	ctx := context.Background()
	if r.chunk != nil {
		ctx = r.chunk.x.base
	}
	seq, err := r.Conn().note(ctx, build)
	if err == nil {
		r.noted(seq)
	}
	return err
}

// Logged sends what is left to send and returns the number of the last note.
func (r *Running) Logged() uint64 {
	if p := r.progress.Load(); p != nil {
		r.flushProgress(p)
	}
	return r.logged.Load()
}

// progress is the last report of a call and when one was last sent.
type progress struct {
	mu          sync.Mutex
	done, total int64
	dirty       bool
	sent        time.Time
}

// progressPeriod is how often a call's progress travels at the most.
const progressPeriod = 20 * time.Millisecond

// Progress reports how far the call is. Reports in quick succession are
// thinned out; the last one always arrives.
func (r *Running) Progress(done, total int64) {
	p := r.progress.Load()
	if p == nil {
		r.progress.CompareAndSwap(nil, new(progress))
		p = r.progress.Load()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total, p.dirty = done, total, true
	if now := time.Now(); now.Sub(p.sent) >= progressPeriod || done == total {
		p.sent = now
		r.sendProgress(p)
	}
}

func (r *Running) flushProgress(p *progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dirty {
		r.sendProgress(p)
	}
}

// sendProgress sends the last report; p.mu is held.
func (r *Running) sendProgress(p *progress) {
	p.dirty = false
	_ = r.note(func(b []byte) []byte { // it fails with the link only
		return wire.AppendVarint(wire.AppendVarint(r.appendNote(noteProgress, b), p.done), p.total)
	})
}

// noted keeps the number of the call's last note; its goroutines may log at the
// same time.
func (r *Running) noted(seq uint64) {
	for old := r.logged.Load(); seq > old && !r.logged.CompareAndSwap(old, seq); old = r.logged.Load() {
	}
}

// Enabled tells whether the call's caller wants records of that level.
func (r *Running) Enabled(level slog.Level) bool {
	return !r.info.NoLog && int(level) >= r.info.LogLevel
}

// Log sends a record to the caller. It waits while the caller's handler is
// more than a window behind.
func (r *Running) Log(rec *Record) error {
	return r.note(func(b []byte) []byte {
		head := r.appendNote(noteRecord, b)
		if item := rec.Append(head); len(item) <= maxRecord {
			return item
		}
		return rec.cut().Append(head[:len(head):len(head)])
	})
}
