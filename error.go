package afar

import (
	"fmt"

	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/peer"
)

// Errors that calls end with.
var (
	// ErrTimeout means that a call ran longer than its Policy's Timeout. It is
	// also a context.DeadlineExceeded; a function's own DeadlineExceeded is not an
	// ErrTimeout.
	ErrTimeout = dispatch.ErrTimeout
	// ErrWorkerLost is what every *WorkerLostError is.
	ErrWorkerLost = peer.ErrWorkerLost
	// ErrUnknownFunction means that the worker does not have the function.
	ErrUnknownFunction = dispatch.ErrUnknownFunction
	// ErrTooLarge means that an input or an output is over Config.MaxItem.
	ErrTooLarge = peer.ErrTooLarge
	// ErrClosed means that the pool or gateway was closed.
	ErrClosed = dispatch.ErrClosed
)

// RemoteError is an error that a function returned, or its panic. errors.Is and
// errors.As find in it what they would have found in the original: the errors
// of the standard library that mark conditions (context.Canceled, io.EOF,
// fs.ErrNotExist, …), *fs.PathError and its kin, and those registered with
// RegisterError and RegisterErrorType.
type RemoteError struct {
	Function string // its name
	Type     string // the Go type of the error or of the panic's value
	Message  string // what Error returned, or the panic's value printed
	Stack    string // of a panic, as the runtime prints it
	Worker   string // the id of the worker
	Panic    bool   // the function panicked; its worker lives on

	causes []error
}

// Error returns the message, and where it came from.
func (e *RemoteError) Error() string {
	at := e.Function
	if e.Worker != "" {
		at += " on " + e.Worker
	}
	if e.Panic {
		return fmt.Sprintf("afar: panic in %s: %s", at, e.Message)
	}
	return fmt.Sprintf("afar: %s: %s", at, e.Message)
}

// Unwrap returns what the original was for errors.Is and errors.As.
func (e *RemoteError) Unwrap() []error { return e.causes }

// WorkerLostError says that a worker was lost while it ran a call, as often as
// the call may be attempted, and what is known about its end. It is an
// ErrWorkerLost.
type WorkerLostError struct {
	Worker      string // id
	Host        string
	PID         int
	ExitCode    int    // -1 when a signal ended it, or it is not known
	Signal      string // "killed", "segmentation fault", …; empty when it exited
	OutOfMemory bool   // the kernel, or Go's runtime, said so
	Stderr      string // its last output
	Attempt     int    // how often the call was attempted
	Function    string // what it ran
	Reason      string // how the link ended, if not by the end of the worker
}

// Error returns all that is known.
func (e *WorkerLostError) Error() string {
	l := dispatch.Lost(*e)
	return "afar: " + l.Error()
}

// Is makes it an ErrWorkerLost.
func (e *WorkerLostError) Is(target error) bool { return target == ErrWorkerLost }

// RegisterError makes errors.Is find sentinel in errors that come from the
// other side. Call it before Main, with the same name in every program that
// exchanges it. It panics when the name is taken by another error.
func RegisterError(name string, sentinel error) {
	if name == "" || sentinel == nil {
		panic("afar: RegisterError: empty name or nil error")
	}
	peer.RegisterError(name, sentinel)
}

// RegisterErrorType makes errors.As find errors of type E in errors that come
// from the other side, with their exported fields. Call it before Main. It
// panics when the name is taken by another type or E cannot travel.
func RegisterErrorType[E error](name string) {
	if name == "" {
		panic("afar: RegisterErrorType: empty name")
	}
	if err := peer.RegisterErrorType[E](name); err != nil {
		panic("afar: RegisterErrorType: " + err.Error())
	}
}

func init() {
	RegisterError("afar.ErrWorkerLost", ErrWorkerLost)
	RegisterErrorType[*WorkerLostError]("afar.WorkerLostError")
	RegisterErrorType[*RemoteError]("afar.RemoteError")
}

// publicError turns an error of the inner packages into the one that users
// see.
func publicError(function, worker string, err error) error {
	switch e := err.(type) {
	case *peer.Fault:
		if e.Worker != "" {
			worker = e.Worker
		}
		return &RemoteError{Function: function, Type: e.Type, Message: e.Message, Stack: e.Stack,
			Worker: worker, Panic: e.Panic, causes: e.Causes}
	case *dispatch.Lost:
		lost := WorkerLostError(*e)
		return &lost
	}
	if err == ErrTimeout {
		if worker != "" {
			return fmt.Errorf("%w of %s on %s", err, function, worker)
		}
		return fmt.Errorf("%w of %s", err, function)
	}
	return err
}
