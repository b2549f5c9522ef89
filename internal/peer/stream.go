package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// Open opens a stream. The notes of what runs there go to listen, if it is not
// nil, and otherwise to Config.Notes; Listen ends that.
func (c *Conn) Open(purpose []byte, o mux.StreamOptions, listen func(Note)) (*mux.Stream, error) {
	n := &c.notes
	n.mu.Lock()
	defer n.mu.Unlock() // so that the first note finds who listens
	s, err := c.session.Open(purpose, o)
	if errors.Is(err, mux.ErrTooLarge) { // because of its headers
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	if err == nil && listen != nil {
		if n.streams == nil {
			n.streams = map[uint64]func(Note){}
		}
		n.streams[s.ID()] = listen
	}
	return s, err
}

// Unlisten ends what Open began for a stream's notes.
func (c *Conn) Unlisten(stream uint64) {
	n := &c.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.streams, stream)
}

func (c *Conn) listener(stream uint64) func(Note) {
	n := &c.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.streams[stream]
}

// ErrReturned is why the context of a function has ended that has returned.
var ErrReturned = errors.New("the function has returned")

// ErrStreamClosed is why the context of a routine or a method has ended whose
// caller has closed the channel or the object.
var ErrStreamClosed = fmt.Errorf("closed by the caller: %w", context.Canceled)

// StreamContext returns a context for what runs on behalf of a stream: it ends
// with the stream, and after the time that its caller has left, if that is not
// 0. cancel must be called, with the reason, when it has run.
func StreamContext(base context.Context, s *mux.Stream, remaining time.Duration) (ctx context.Context, cancel context.CancelCauseFunc) {
	stop := func() {}
	if remaining > 0 {
		base, stop = context.WithTimeoutCause(base, remaining, nil)
	}
	ctx, end := context.WithCancelCause(base)
	go func() {
		defer stop()
		select {
		case <-s.Done():
			end(CauseOf(s.Err()))
		case <-ctx.Done():
		}
	}()
	return ctx, end
}

// Closed says that the far side closed a stream before it had ended.
type Closed struct{ Cause *Fault }

// Error says why.
func (c *Closed) Error() string { return "closed by the far side: " + c.Cause.Message }

// Unwrap returns the cause.
func (c *Closed) Unwrap() error { return c.Cause }

// Lost says that a stream ended with its link, or was refused.
type Lost struct{ Cause error }

// Error says how.
func (l *Lost) Error() string { return l.Cause.Error() }

// Unwrap returns what the link said.
func (l *Lost) Unwrap() error { return l.Cause }

// Ended says how a stream has ended whose error is err: io.EOF when the far side
// has said all, or a *Fault, *Closed or *Lost. The ending is that of a stream
// that was finished, otherwise empty.
func Ended(err error) (end wire.Ending, how error) {
	var finished *mux.Finished
	if !errors.As(err, &finished) {
		return end, &Lost{err}
	}
	parsed, err := wire.ParseEnding(finished.Payload)
	if err != nil {
		return end, &Lost{err}
	}
	if parsed.Code == wire.EndDone {
		return *parsed, io.EOF
	}
	fault, err := DecodeError(parsed.Fault)
	switch {
	case err != nil:
		return *parsed, &Lost{err}
	case parsed.Code == wire.EndClosed:
		return *parsed, &Closed{fault}
	}
	return *parsed, fault
}

// Finish ends a stream and says how; err is that of all codes but EndDone.
func Finish(s *mux.Stream, end wire.Ending, err error) {
	if end.Code != wire.EndDone {
		end.Fault = EncodeShort(err)
	}
	s.Finish(end.Append(nil))
}

// CauseOf says, as the cause of a context, how its caller has ended a stream.
func CauseOf(err error) error {
	switch _, how := Ended(err); how := how.(type) {
	case *Lost:
		return how.Cause
	case *Closed:
		return fmt.Errorf("%w: %w", ErrStreamClosed, how.Cause)
	}
	return ErrStreamClosed
}
