package queue

import (
	"errors"
	"fmt"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/peer"
)

// Errors of tasks. What a function returned, and what became of its worker, are the
// core's: *afar.RemoteError, *afar.WorkerLostError, afar.ErrTimeout.
var (
	// ErrUnknownTask means that the queue does not know the task, or has forgotten it.
	ErrUnknownTask = errors.New("queue: no such task, or its outcome is forgotten")
	// ErrNoWorkers means that nobody listens to the queue.
	ErrNoWorkers = errors.New("queue: nobody listens")
	// ErrDead means that a task is among the dead letters: no attempt is left. Its
	// error is also that of the last attempt.
	ErrDead = errors.New("queue: no attempt is left")
	// ErrReject is for functions to return, or to wrap: their task becomes a dead letter
	// at once, whatever attempts it has left.
	ErrReject = errors.New("queue: rejected")
	// ErrBusy is for Programs that cannot run a task now: it is handed back, which costs no
	// attempt, and comes again after a second, here or elsewhere.
	ErrBusy = errors.New("queue: no place for the task now")
	// ErrLeaseLost is the cause with which a function's context ends when its task was
	// given to another worker, or has an outcome already.
	ErrLeaseLost = errors.New("queue: the lease of the task is lost")
	// ErrUnauthorized means that a task is not signed, or by nobody who may submit it.
	ErrUnauthorized = errors.New("queue: the task is not authorised")
)

func init() {
	afar.RegisterError("afar.queue.ErrDead", ErrDead)
	afar.RegisterError("afar.queue.ErrReject", ErrReject)
	afar.RegisterError("afar.queue.ErrUnauthorized", ErrUnauthorized)
}

// encodeError encodes the error of an attempt, so that those who read it find in it
// what errors.Is and errors.As would have found.
// Of one that is too large for a broker the text is cut.
func encodeError(err error) []byte { return peer.EncodeShort(err) }

// decodeError is the reverse. Bytes that are no error make one that says so.
func decodeError(data []byte) error {
	fault, err := peer.DecodeError(data)
	if err != nil {
		return fmt.Errorf("queue: an error that cannot be read: %w", err)
	}
	return fault
}

// deadError is the error of a task whose last attempt ended with err.
type deadError struct{ err error }

func (e *deadError) Error() string   { return "queue: no attempt is left: " + e.err.Error() }
func (e *deadError) Unwrap() []error { return []error{ErrDead, e.err} }

// lostError is the error of an attempt; nil if it has none.
func lostError(a *Attempt) error {
	switch {
	case len(a.Error) > 0:
		return decodeError(a.Error)
	case a.Lost:
		return fmt.Errorf("queue: %w: %s has not renewed its lease", afar.ErrWorkerLost, a.Worker)
	}
	return nil
}
