package natsq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

const (
	// partSize is the size of the messages that blobs are cut into.
	partSize = 512 << 10
	// orphanAge is the age at which parts are deleted that belong to no blob: uploads
	// that came to nothing.
	orphanAge = time.Hour
)

// blobs is a queue's store for what is too large for a task. Parts are uploaded under a name
// of the upload's own; only when all are there and found to be right does the queue's
// keeper say that there is a blob.
type blobs struct {
	b           *Broker
	name, token string
}

// Blobs implements queue.Broker.
func (b *Broker) Blobs(name string) queue.Blobs { return &blobs{b, name, token(name)} }

// Put implements queue.Blobs. Bytes that are there already are replaced, which mends
// those that are damaged.
func (s *blobs) Put(ctx context.Context, hash string, size int64, r io.Reader, keep time.Duration) error {
	if err := s.check(hash, keep); err != nil {
		return err
	}
	if size < 0 {
		return queueError(s.name, "a blob of %d bytes", size)
	}
	upload := hash[:16] + "-" + strconv.FormatUint(randomNumber(), 36)
	parts, err := s.upload(ctx, upload, check.Reader(r, hash, size))
	if err == nil {
		put := blob{hash: hash, upload: upload, size: size, parts: parts}
		_, err = s.b.ask(ctx, s.name, &request{kind: kindPutBlob, blob: put, blobFor: int64(keep)})
		return err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerPatience)
	defer cancel()
	s.b.deleteParts(limited, s.token, upload) // if that fails they are deleted when they are old
	return check.Wrap(s.name, err)
}

// check checks what the caller has given.
func (s *blobs) check(hash string, keep time.Duration) error {
	err := check.Queue(s.name)
	if err == nil {
		err = check.Blob(hash, keep)
	}
	return check.Wrap(s.name, err)
}

// upload stores what is read, in parts.
func (s *blobs) upload(ctx context.Context, upload string, r io.Reader) (parts int, err error) {
	if err := s.b.retry(ctx, s.stream); err != nil {
		return 0, err
	}
	buffer := make([]byte, partSize)
	for {
		n, err := io.ReadFull(r, buffer)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return parts, err
		}
		if n > 0 {
			if err := s.b.retry(ctx, func(ctx context.Context) error {
				// A part that is stored twice replaces itself.
				_, err := s.b.js.Publish(ctx, s.part(upload, parts), buffer[:n], jetstream.WithRetryAttempts(0))
				return err
			}); err != nil {
				return parts, err
			}
			parts++
		}
		if err != nil {
			return parts, nil
		}
	}
}

// part is the subject of a part.
func (s *blobs) part(upload string, n int) string {
	return s.b.names.parts(s.token, upload) + "." + strconv.Itoa(n)
}

// stream makes the stream of the parts, if there is none.
func (s *blobs) stream(ctx context.Context) error {
	name := s.b.names.blobs(s.token)
	_, err := s.b.js.Stream(ctx, name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	_, err = s.b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{s.b.names.parts(s.token, "*") + ".*"}, MaxMsgsPerSubject: 1,
		Description: "the blobs of afar's queue " + s.name, Metadata: map[string]string{queueKey: s.name},
		Replicas: s.b.config.Replicas, AllowDirect: true,
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil
	}
	return err
}

// Get implements queue.Blobs. The reader goes on until ctx ends.
func (s *blobs) Get(ctx context.Context, hash string) (io.ReadCloser, error) {
	if err := s.check(hash, 0); err != nil {
		return nil, err
	}
	a, err := s.b.ask(ctx, s.name, &request{kind: kindFindBlob, blob: blob{hash: hash}})
	if err != nil {
		return nil, err
	}
	if a.blob == nil {
		return nil, check.Wrap(s.name, fmt.Errorf("%w: %s", queue.ErrNoBlob, hash))
	}
	d := &download{blobs: s, ctx: ctx, blob: *a.blob}
	return &checkedReader{check.Reader(d, hash, a.blob.size), s.name}, nil
}

// Keep implements queue.Blobs.
func (s *blobs) Keep(ctx context.Context, hash string, d time.Duration) (bool, error) {
	if err := s.check(hash, d); err != nil {
		return false, err
	}
	a, err := s.b.ask(ctx, s.name, &request{kind: kindKeepBlob, blob: blob{hash: hash}, blobFor: int64(d)})
	return err == nil && a.count > 0, err
}

// download reads the parts of a blob.
type download struct {
	blobs *blobs
	ctx   context.Context
	blob  blob
	next  int
	part  bytes.Reader
}

// Read implements io.Reader. A part that is missing, because the blob was given up meanwhile or
// something is broken, is the end: then bytes are missing.
func (d *download) Read(p []byte) (int, error) {
	for d.part.Len() == 0 {
		if d.next == d.blob.parts {
			return 0, io.EOF
		}
		err := d.blobs.b.retry(d.ctx, func(ctx context.Context) error {
			stream, err := d.blobs.b.js.Stream(ctx, d.blobs.b.names.blobs(d.blobs.token))
			if err != nil {
				return absent(err)
			}
			msg, err := stream.GetLastMsgForSubject(ctx, d.blobs.part(d.blob.upload, d.next))
			if err != nil {
				return absent(err)
			}
			d.part.Reset(msg.Data)
			return nil
		})
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		d.next++
	}
	return d.part.Read(p)
}

// absent makes the error of what is not there one that lasts.
func absent(err error) error {
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return errors.Join(errGiven, io.EOF)
	}
	return err
}

// checkedReader names the queue in errors.
type checkedReader struct {
	io.Reader
	name string
}

func (r *checkedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = check.Wrap(r.name, err)
	}
	return n, err
}

func (r *checkedReader) Close() error { return nil }

// deleteParts deletes the parts of an upload.
func (b *Broker) deleteParts(ctx context.Context, token, upload string) {
	if s, err := b.js.Stream(ctx, b.names.blobs(token)); err == nil {
		_ = s.Purge(ctx, jetstream.WithPurgeSubject(b.names.parts(token, upload)+".*"))
	}
}

// sweepParts deletes parts that no blob has, once they are so old that they are not those of
// an upload which is under way.
func (b *Broker) sweepParts(ctx context.Context, token string, wanted map[string]bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	stream, err := b.js.Stream(ctx, b.names.blobs(token))
	if err != nil {
		return
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(b.names.parts(token, "*")+".*"))
	if err != nil {
		return
	}
	seen := map[string]bool{}
	for subject := range info.State.Subjects {
		words := strings.Split(subject, ".")
		upload := words[len(words)-2]
		if wanted[upload] || seen[upload] {
			continue
		}
		seen[upload] = true
		msg, err := stream.GetLastMsgForSubject(ctx, b.names.parts(token, upload)+".*")
		if err == nil && info.TimeStamp.Sub(msg.Time) > orphanAge {
			b.deleteParts(ctx, token, upload)
		}
	}
}
