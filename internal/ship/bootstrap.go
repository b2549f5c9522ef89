package ship

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"time"
)

const (
	// AgentVariable is set in the environment of a program that Bootstrap starts, to the nonce of [AgentLine].
	AgentVariable = "AFAR_AGENT"

	// CacheVariable is set as well, to the directory that the program's image is in. See [Temporary].
	CacheVariable = "AFAR_CACHE"
)

// AgentLine is what a program that Bootstrap started prints to its standard output before anything else, with the line
// end. The nonce is the value of AgentVariable.
func AgentLine(nonce string) string { return answerPrefix(nonce) + "agent\n" }

// Temporary tells whether a cache directory was made for one program only, the one that was started with this nonce,
// because no lasting one could be used. That program removes the directory, as soon as it likes.
func Temporary(dir, nonce string) bool { return nonce != "" && filepath.Base(dir) == "afar-"+nonce }

// An Arrival is a program that runs on another host.
type Arrival struct {
	Link   io.Reader // what the program printed after its AgentLine, from the first byte on
	Image  *Image    // what choose returned
	System string    // of the host, as "linux/amd64"
	Cached bool      // the image was there already, or somebody else brought it meanwhile
}

// ErrSilent is wrapped by the errors of a far side that has given no answer for too long.
var ErrSilent = errors.New("no answer")

var errMain = errors.New("the program runs, but does not say that it serves: afar.Main() is not the first line of main")

// Bootstrap starts a program on another host. The link leads to a POSIX sh there that reads commands from its standard
// input and has not been sent anything: `ssh host exec sh`, or `docker exec -i box sh`. choose gives the image for the
// host's system. On return the link leads to the program: what is written to it is the program's standard input, and
// the Arrival's Link is its standard output.
//
// The far side needs uname, mkdir, head, chmod and mv; it uses gzip, rm, ls and a program for SHA-256 if they are there.
// The image goes to $XDG_CACHE_HOME/afar/images (~/.cache/afar/images), to ~/.afar/images if that does not do, or else
// to a new directory in $TMPDIR (/tmp), /var/tmp or /dev/shm, for which see Temporary. Of several callers that bring
// the same image one uploads it and the others wait.
//
// Errors of the far side are of type [*Error]. An error of choose that is one is returned as it is, any other becomes
// the reason of one. When ctx ends, Bootstrap returns at once with an *Error whose reason is the context's cause.
//
// A far side that has given no answer for as long as patience is given up, whatever else it prints; 0 waits for ever. Bytes
// that it takes count like an answer, and choose takes as long as it takes. Both errors say [ErrSilent]: those of before the
// program is started, and at [StageStart] that of a program which does not come to its AgentLine. One from the cache
// has half the time for that, because it may still be renewed.
//
// After an error the caller closes the link; what Bootstrap has left behind in a Read or Write of it ends then. The link
// needs no deadlines, but its Close has to end Reads and Writes. Nobody else may use it meanwhile.
func Bootstrap(ctx context.Context, link io.ReadWriter, patience time.Duration, choose func(ctx context.Context, system string) (*Image, error)) (*Arrival, error) {
	return newSession(link, patience, choose).bootstrap(ctx)
}

// Renew is Bootstrap, but does not take the image from the cache: for when that has failed with an [Error] that is
// Cached.
func Renew(ctx context.Context, link io.ReadWriter, patience time.Duration, choose func(ctx context.Context, system string) (*Image, error)) (*Arrival, error) {
	s := newSession(link, patience, choose)
	s.fresh = true
	return s.bootstrap(ctx)
}

// bootstrap watches over run, which reads and writes without regard to time.
func (s *session) bootstrap(ctx context.Context) (*Arrival, error) {
	type outcome struct {
		arrival *Arrival
		err     error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.clock.stop()
	ended := make(chan outcome, 1)
	go func() {
		arrival, err := s.run(ctx)
		ended <- outcome{arrival, err}
	}()
	failed := s.failed
	var silent <-chan time.Time
	var writeErr error
	for {
		select {
		case o := <-ended:
			return o.arrival, o.err
		case <-ctx.Done():
			return nil, s.log.fail(context.Cause(ctx))
		case <-s.clock.over:
			return nil, s.log.fail(s.clock.err())
		case writeErr = <-failed:
			failed = nil
			timer := time.NewTimer(s.limits.words)
			defer timer.Stop()
			silent = timer.C
		case <-silent:
			return nil, s.log.fail(writeErr)
		}
	}
}
