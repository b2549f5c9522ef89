package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
)

// chunk is how many bytes of a link travel in one item.
const chunk = 64 << 10

// streamLink is a stream as a link: its items are bytes without borders.
type streamLink struct {
	s      *mux.Stream
	closed atomic.Bool

	// Of the one who reads.
	item []byte // what was taken last
	rest []byte // what is unread of it
	mine bool   // it is owned
}

var _ launch.Link = (*streamLink)(nil)

// Read reads what has come. One goroutine may read.
func (l *streamLink) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(l.rest) == 0 {
		item, owned, err := l.s.Take(context.Background())
		if err != nil {
			return 0, l.ended(err)
		}
		l.item, l.rest, l.mine = item, item, owned
		l.release() // an empty item
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	l.release()
	return n, nil
}

// release gives back an item that was read whole.
func (l *streamLink) release() {
	if len(l.rest) > 0 {
		return
	}
	if l.mine {
		mux.Free(l.item)
	}
	l.item, l.mine = nil, false
	l.s.Release()
}

// ended says how reading has ended.
func (l *streamLink) ended(err error) error {
	var finished *mux.Finished
	switch {
	case l.closed.Load():
		return os.ErrClosed
	case errors.As(err, &finished):
		return io.EOF
	}
	return err
}

// Write sends p. Writes of several goroutines do not interleave while they are at
// most 64 KiB.
func (l *streamLink) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); {
		part := p[sent:min(len(p), sent+chunk)]
		if err := l.send(part, nil); err != nil {
			return sent, err
		}
		sent += len(part)
	}
	return len(p), nil
}

// Writev sends all buffers.
func (l *streamLink) Writev(bufs ...[]byte) error {
	for len(bufs) > 1 && len(bufs[0])+len(bufs[1]) <= chunk {
		if err := l.send(bufs[0], bufs[1]); err != nil {
			return err
		}
		bufs = bufs[2:]
	}
	for _, b := range bufs {
		if _, err := l.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (l *streamLink) send(first, second []byte) error {
	if len(first)+len(second) == 0 {
		return nil
	}
	err := l.s.SendNow(context.Background(), first, second)
	var finished *mux.Finished
	switch {
	case err == nil:
		return nil
	case l.closed.Load():
		return os.ErrClosed
	case errors.As(err, &finished) || errors.Is(err, mux.ErrReset) || errors.Is(err, mux.ErrClosed):
		return io.ErrClosedPipe
	}
	return err
}

// Close ends the link; what was written before still arrives.
func (l *streamLink) Close() error {
	if !l.closed.Swap(true) {
		l.s.Finish(nil)
	}
	return nil
}
