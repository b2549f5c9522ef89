package reach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/ship"
)

// Reasons why a host is out of reach.
const (
	NoHost       = "no such host"
	Refused      = "connection refused"
	Unreachable  = "host unreachable"
	TimedOut     = "timed out"
	Lost         = "connection lost"
	Auth         = "authentication failed"
	HostKey      = "host key not accepted"
	NotFound     = "command not found"
	NoShell      = "no shell"
	NoSpace      = "no space"
	NoDirectory  = "no directory for the program"
	Architecture = "no program for its architecture"
	NotStarted   = "the program did not start"
	Other        = "failed"
)

// Error says why a host is out of reach.
type Error struct {
	Where  string // the host
	Reason string // one of the above
	Detail string // what the host, or the way there, had to say; may be empty
	Err    error  // the cause; may be nil
}

// Error says it on one line, and then what was said on the way.
func (e *Error) Error() string {
	s := e.Where + ": " + e.Reason
	if cause := e.cause(); cause != "" {
		s += ": " + cause
	}
	if e.Detail != "" {
		s += "\n" + e.Detail
	}
	return s
}

// cause is what the cause adds to the host and the reason.
func (e *Error) cause() string {
	err := e.Err
	if path, ok := errors.AsType[*os.PathError](err); ok && strings.HasSuffix(e.Where, path.Path) {
		err = path.Err
	}
	if err == nil || err.Error() == e.Reason {
		return ""
	}
	return err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Passing tells whether the host may be within reach again by itself.
func (e *Error) Passing() bool {
	switch e.Reason {
	case NoHost, Refused, Unreachable, TimedOut, Lost:
		return true
	}
	return false
}

// said tells reasons by what ssh prints. It is made when it is needed, for most
// processes never do.
var said = sync.OnceValue(func() []saying {
	return []saying{
		{regexp.MustCompile(`(?i)can't open user config file|bad configuration option|terminating, \d+ bad configuration`), Other},
		{regexp.MustCompile(`REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed|No \S+ host key is known`), HostKey},
		{regexp.MustCompile(`(?i)could not resolve hostname|name or service not known`), NoHost},
		{regexp.MustCompile(`(?i)permission denied \(|too many authentication failures|no supported authentication methods`), Auth},
		{regexp.MustCompile(`(?i)connection refused`), Refused},
		{regexp.MustCompile(`(?i)no route to host|network is unreachable|host is down`), Unreachable},
		{regexp.MustCompile(`(?i)(operation|connection) timed out|timeout, server .* not responding|banner exchange`), TimedOut},
		{regexp.MustCompile(`(?i)connection (reset|closed|to .* closed)|broken pipe|kex_exchange_identification`), Lost},
		{regexp.MustCompile(`ssh: connect to host .* port \d+: `), Unreachable}, // whatever the reason
		{regexp.MustCompile(`(?i)this account is (currently )?not available|no shell|account is disabled|nologin`), NoShell},
	}
})

type saying struct {
	words  *regexp.Regexp
	reason string
}

// stages are the reasons of what went wrong on the host itself.
var stages = map[ship.Stage]string{
	ship.StageNoShell: NoShell, ship.StageUnknownSystem: Architecture, ship.StageNoProgram: Architecture,
	ship.StageNoSpace: NoSpace, ship.StageNoDirectory: NoDirectory, ship.StageUpload: Lost, ship.StageHash: NotStarted,
	ship.StageStart: NotStarted,
}

// reasonOf tells reasons by errors of the way itself.
func reasonOf(scheme string, err error) string {
	var stage *ship.Error
	var says interface{ Reason() string } // package trust's
	switch {
	case errors.As(err, &says):
		return says.Reason()
	case errors.As(err, &stage):
		return stages[stage.Stage]
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Unreachable
	case scheme == "unix" && errors.Is(err, os.ErrNotExist):
		return Refused // nobody listens at the socket, yet
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		return Lost // by somebody on the way, or who is too busy
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return TimedOut
	}
	return Other
}

// Dialed says why package trust could not connect to a node.
func Dialed(where string, err error) *Error {
	return &Error{Where: where, Reason: reasonOf("tcp", err), Err: err}
}

// explain says why the way to a host has failed with err; exit is how the command
// ended that is the way, or nil.
func explain(ctx context.Context, a *Address, err error, exit *launch.Exit) error {
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	if cause := context.Cause(ctx); errors.Is(ctx.Err(), context.Canceled) && !errors.Is(cause, errSilent) {
		if !errors.Is(cause, context.Canceled) {
			cause = fmt.Errorf("%w: %w", context.Canceled, cause)
		}
		return fmt.Errorf("%s: %w", a.String(), cause)
	}
	e := &Error{Where: a.String(), Reason: reasonOf(a.Scheme, err), Err: err}
	if exit != nil {
		e.heed(a.Scheme, exit)
	}
	if e.Reason == Other && ctx.Err() != nil {
		e.Err, e.Reason = context.Cause(ctx), TimedOut
	}
	return e
}

// heed tells the reason by how the command ended that is the way, and what it said.
func (e *Error) heed(scheme string, exit *launch.Exit) {
	e.Detail = strings.TrimSpace(exit.Stderr)
	failed := scheme == "ssh" && exit.Code == 255 // ssh itself, not the host's shell
	if !failed && e.Reason != NoShell {
		return
	}
	for _, s := range said() {
		if s.words.MatchString(e.Detail) {
			e.Reason = s.reason
			e.Err = nil // it says that there was no shell, which is no news
			return
		}
	}
	// What runs commands elsewhere ends with 126 or 127 if there is no such command;
	// with another code it has not come so far, as docker without its daemon.
	missing := exit.Code == 126 || exit.Code == 127
	switch {
	case e.Reason != NoShell:
	case missing:
		e.Err = fmt.Errorf("%w (%v)", e.Err, exit)
	case e.Detail != "" && exit.Code > 0 && (failed || scheme == "exec"):
		e.Reason, e.Err = Other, errors.New(exit.String())
	}
}
