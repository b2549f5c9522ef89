package memq

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// blobs is a queue's store for what is too large for a task.
type blobs struct {
	broker *Broker
	queue  string
}

// blob is what is kept under a hash, or only who needs it: a task may come first.
type blob struct {
	hash  string
	data  []byte // never changed
	there bool
	users int           // tasks that need it
	keep  time.Duration // the longest that was asked for
	until time.Duration // kept at least until then
	alarm alarm         // at until, if nobody needs it
}

// Put implements queue.Blobs.
func (b *blobs) Put(ctx context.Context, hash string, size int64, r io.Reader, keep time.Duration) error {
	return check.Wrap(b.queue, b.put(ctx, hash, size, r, keep))
}

func (b *blobs) put(ctx context.Context, hash string, size int64, r io.Reader, keep time.Duration) error {
	s, err := b.open(ctx, hash, keep)
	if err != nil {
		return err
	}
	if size < 0 {
		return fmt.Errorf("blob %s: the size of %d bytes is negative", hash, size)
	}
	// What is read grows with what comes: size is only what somebody says.
	data, err := io.ReadAll(check.Reader(r, hash, size))
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	defer s.unlock()
	if err := s.lock(); err != nil {
		return err
	}
	kept := s.blob(hash)
	kept.data, kept.there = data, true
	s.keepBlob(kept, keep)
	return nil
}

// Get implements queue.Blobs.
func (b *blobs) Get(ctx context.Context, hash string) (io.ReadCloser, error) {
	r, err := b.get(ctx, hash)
	if err != nil {
		return nil, check.Wrap(b.queue, err)
	}
	return r, nil
}

func (b *blobs) get(ctx context.Context, hash string) (io.ReadCloser, error) {
	s, err := b.open(ctx, hash, 0)
	if err != nil {
		return nil, err
	}
	defer s.unlock()
	if err := s.lock(); err != nil {
		return nil, err
	}
	kept := s.blobs[hash]
	if kept == nil || !kept.there {
		return nil, fmt.Errorf("%w: %s", queue.ErrNoBlob, hash)
	}
	return io.NopCloser(check.Reader(bytes.NewReader(kept.data), hash, -1)), nil
}

// Keep implements queue.Blobs.
func (b *blobs) Keep(ctx context.Context, hash string, d time.Duration) (bool, error) {
	there, err := b.keep(ctx, hash, d)
	return there, check.Wrap(b.queue, err)
}

func (b *blobs) keep(ctx context.Context, hash string, d time.Duration) (bool, error) {
	s, err := b.open(ctx, hash, d)
	if err != nil {
		return false, err
	}
	defer s.unlock()
	if err := s.lock(); err != nil {
		return false, err
	}
	kept := s.blobs[hash]
	if kept == nil || !kept.there {
		return false, nil
	}
	s.keepBlob(kept, d)
	return true, nil
}

// open returns the store, for a call that asks for nothing impossible.
func (b *blobs) open(ctx context.Context, hash string, keep time.Duration) (*store, error) {
	s, err := b.broker.open(ctx, b.queue)
	if err != nil {
		return nil, err
	}
	return s, check.Blob(hash, keep)
}

// blob returns what is known under a hash.
func (s *store) blob(hash string) *blob {
	b := s.blobs[hash]
	if b == nil {
		b = &blob{hash: hash}
		s.blobs[hash] = b
	}
	return b
}

// keepBlob keeps a blob for a time from now on, and for as long after its last user.
func (s *store) keepBlob(b *blob, d time.Duration) {
	b.keep = max(b.keep, d)
	s.lastUntil(b, d)
}

// lastUntil keeps a blob for a time from now on.
func (s *store) lastUntil(b *blob, d time.Duration) {
	b.until = max(b.until, s.after(d))
	if b.users == 0 {
		s.alarms.set(&b.alarm, b, b.until)
	}
}

// ring drops a blob.
func (b *blob) ring(s *store) { delete(s.blobs, b.hash) }

// hold keeps blobs until release, which is called as often.
func (s *store) hold(hashes []string) {
	for _, h := range hashes {
		b := s.blob(h)
		b.users++
		s.alarms.unset(&b.alarm)
	}
}

// release undoes a hold.
func (s *store) release(hashes []string) {
	for _, h := range hashes {
		b := s.blobs[h]
		b.users--
		switch {
		case b.users > 0:
		case b.there:
			s.lastUntil(b, b.keep)
		default:
			delete(s.blobs, h)
		}
	}
}

// keepFor keeps blobs of an outcome for as long as the outcome.
func (s *store) keepFor(hashes []string, d time.Duration) {
	for _, h := range hashes {
		if b := s.blobs[h]; b != nil && b.there {
			s.lastUntil(b, d)
		}
	}
}
