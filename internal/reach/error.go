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

// Reasons why a host is out of reach, or of no use.
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
	Denied       = "worker refused" // by a host within reach
	Other        = "failed"
)

// Error says why a host is out of reach, or gives no worker.
type Error struct {
	Where  string // the host; "": it was named already
	Reason string // one of the above
	Detail string // what the host, or the way there, had to say; may be empty
	Err    error  // the cause; may be nil
}

// Error says it on one line, and then what was said on the way.
func (e *Error) Error() string {
	s := e.Reason
	if e.Where != "" {
		s = e.Where + ": " + s
	}
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
	if stage, ok := err.(*ship.Error); ok {
		return staged(stage, e.Reason)
	}
	return err.Error()
}

// staged is what an error of shipping the program adds to a reason, which tells the
// stage most often.
func staged(err *ship.Error, reason string) string {
	text := err.Why()
	if err.System != "" && reason == Architecture {
		text = err.System + ": " + text
	}
	if doing := stages[err.Stage].doing; doing != "" {
		text = doing + ": " + text
	}
	return strings.TrimSuffix(text, ": ")
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

// At returns an error for those who name the host themselves, by an address.
func At(a *Address, err error) error {
	e, ok := err.(*Error)
	if !ok || a == nil || e.Where != a.String() {
		return err
	}
	of := *e
	of.Where = ""
	return &of
}

// OwnEnd tells whether a worker's link has ended with err because the worker has: not
// because the way to its host has, which an Error says.
func OwnEnd(err error) bool {
	return !errors.As(err, new(*Error)) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe))
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

// stages are the reasons of what went wrong on the host itself, and what was done if
// they do not tell.
var stages = map[ship.Stage]struct{ reason, doing string }{
	ship.StageNoShell:       {NoShell, ""},
	ship.StageTerminal:      {Other, ""},
	ship.StageUnknownSystem: {Architecture, ""},
	ship.StageNoProgram:     {Architecture, ""},
	ship.StageNoSpace:       {NoSpace, ""},
	ship.StageNoDirectory:   {NoDirectory, ""},
	ship.StageUpload:        {Lost, "while the program was brought"},
	ship.StageHash:          {NotStarted, ""},
	ship.StageStart:         {NotStarted, ""},
}

// reasonOf tells reasons by errors of the way itself.
func reasonOf(scheme string, err error) string {
	var stage *ship.Error
	var says interface{ Reason() string } // package trust's
	switch {
	case errors.As(err, &says):
		return says.Reason()
	case errors.As(err, &stage) && (stage.Stage == ship.StageStart || !errors.Is(err, ship.ErrSilent)):
		return stages[stage.Stage].reason
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Unreachable
	case scheme == "unix" && errors.Is(err, os.ErrNotExist):
		return Refused // nobody listens at the socket, yet
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		return Lost // by somebody on the way, or who is too busy
	case errors.Is(err, ship.ErrSilent), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
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
	if cause := context.Cause(ctx); errors.Is(ctx.Err(), context.Canceled) && !errors.Is(cause, ship.ErrSilent) {
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
		e.ended(exit)
	case e.Detail != "" && exit.Code > 0 && (failed || scheme == "exec"):
		e.Reason, e.Err = Other, errors.New(exit.String())
	}
}

// ended adds how the command has ended that is the way.
func (e *Error) ended(exit *launch.Exit) {
	stage, ok := e.Err.(*ship.Error)
	if !ok {
		e.Err = fmt.Errorf("%w (%v)", e.Err, exit)
		return
	}
	of := *stage
	of.Err = fmt.Errorf("%w (%v)", stage.Err, exit)
	e.Err = &of
}
