package reach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
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
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Detail != "" {
		s += "\n" + e.Detail
	}
	return s
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

// said tells reasons by what ssh prints.
var said = []struct {
	words  *regexp.Regexp
	reason string
}{
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

// stages are the reasons of what went wrong on the host itself.
var stages = map[ship.Stage]string{
	ship.StageNoShell: NoShell, ship.StageUnknownSystem: Architecture, ship.StageNoProgram: Architecture,
	ship.StageNoSpace: NoSpace, ship.StageNoDirectory: NoDirectory, ship.StageUpload: Lost, ship.StageHash: NotStarted,
	ship.StageStart: NotStarted,
}

// explain says why the way to a host has failed with err; exit is how the command
// ended that is the way, or nil.
func explain(ctx context.Context, a *Address, err error, exit *launch.Exit) error {
	e := &Error{Where: a.String(), Reason: Other, Err: err}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	var stage *ship.Error
	var says interface{ Reason() string } // package trust's
	switch {
	case errors.As(err, &says):
		e.Reason = says.Reason()
	case errors.As(err, &stage):
		e.Reason = stages[stage.Stage]
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Reason = Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		e.Reason = Unreachable
	case errors.Is(err, os.ErrNotExist):
		e.Reason = NoHost // of a socket in the file system
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		e.Reason = TimedOut
	}
	if exit != nil {
		e.Detail = strings.TrimSpace(exit.Stderr)
		if a.Scheme == "ssh" && exit.Code == 255 || stage != nil && stage.Stage == ship.StageNoShell {
			for _, s := range said {
				if s.words.MatchString(e.Detail) {
					e.Reason = s.reason
					e.Err = nil // it says that there was no shell, which is no news
					break
				}
			}
		}
		if exit.Code == 127 && e.Reason == NoShell {
			e.Err = fmt.Errorf("%w (%v)", err, exit)
		}
	}
	if cause := context.Cause(ctx); cause != nil && e.Reason == Other {
		e.Err, e.Reason = cause, TimedOut
		if errors.Is(cause, context.Canceled) {
			return fmt.Errorf("%s: %w", e.Where, cause)
		}
	}
	return e
}
