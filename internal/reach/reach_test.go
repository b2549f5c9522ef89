package reach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// village is a Via to hosts in memory, each an agent whose workers echo.
type village struct {
	dials atomic.Int64
	fail  atomic.Pointer[error] // what the next connections fail with
	hasty atomic.Bool           // agents close their links as soon as they have said hello
	hold  chan struct{}         // if set, connections wait for it

	mu    sync.Mutex
	links []launch.Link // the agents' ends
	wg    sync.WaitGroup
}

func (v *village) Command(context.Context, launch.Order) (*launch.Worker, error) {
	return nil, errors.New("there are no commands here")
}

func (v *village) Dial(ctx context.Context, network, address string) (launch.Link, error) {
	v.dials.Add(1)
	if v.hold != nil {
		select {
		case <-v.hold:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if err := v.fail.Load(); err != nil {
		return nil, *err
	}
	near, far := launch.Pipe()
	v.mu.Lock()
	v.links = append(v.links, far)
	v.mu.Unlock()
	v.wg.Go(func() {
		s := agent.Begin(far, wire.Hello{Image: "image"}, &agent.Server{
			Start: func(l *wire.Launch, _ func([]byte)) (*launch.Worker, error) {
				if l.ID == "unwanted" || v.hasty.Load() {
					return nil, errors.New("no more workers for you")
				}
				return launch.InProcess(launch.Spec{ID: l.ID}, func(link launch.Link) { _, _ = io.Copy(link, link) }), nil
			}})
		if v.hasty.Load() {
			s.Close()
		}
		_ = s.Wait()
	})
	return near, nil
}

// cut ends all links.
func (v *village) cut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range v.links {
		_ = l.Close()
	}
}

var somewhere = Address{Scheme: "unix", Network: "/there"}

func echoes(t *testing.T, w *launch.Worker) {
	t.Helper()
	if _, err := w.Link().Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(w.Link(), got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// All who want a worker at once share one connection; when it is lost, the next who
// wants one makes another.
func TestOneConnectionPerHost(t *testing.T) {
	v := &village{}
	h := New(v, somewhere, Config{Patience: time.Minute})
	for round := range 3 {
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				w, _, err := h.Start(t.Context(), launch.Spec{ID: fmt.Sprint(i)}, 5)
				if err != nil {
					t.Error(err)
					return
				}
				echoes(t, w)
			})
		}
		wg.Wait()
		if n := v.dials.Load(); n != int64(round+1) {
			t.Errorf("%d connections in round %d", n, round+1)
		}
		c, err := h.connection(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		v.cut()
		<-c.conn.Session().Done()
	}
	h.Close()
	v.wg.Wait()
	if _, _, err := h.Start(t.Context(), launch.Spec{}, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A host within reach that gives no worker says why, and keeps its connection.
func TestRefusalIsTheHosts(t *testing.T) {
	v := &village{}
	h := New(v, somewhere, Config{Patience: time.Minute})
	_, _, err := h.Start(t.Context(), launch.Spec{ID: "unwanted"}, 1)
	if err == nil || err.Error() != "/there: worker refused: no more workers for you" {
		t.Errorf("got %v", err)
	}
	var e *Error
	if !errors.As(err, &e) || e.Reason != Denied || e.Passing() {
		t.Errorf("%#v", e)
	}
	if _, _, err := h.Start(t.Context(), launch.Spec{ID: "another"}, 1); err != nil || v.dials.Load() != 1 {
		t.Errorf("%v, %d connections", err, v.dials.Load())
	}
	h.Close()
	v.wg.Wait()
}

// Attempts come after pauses that grow, and each error is told to all who wait.
func TestPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &village{}
		refused := error(syscall.ECONNREFUSED)
		v.fail.Store(&refused)
		h := New(v, somewhere, Config{Patience: time.Minute})
		var pauses []time.Duration
		for range 10 {
			begin := time.Now()
			_, _, err := h.Start(t.Context(), launch.Spec{}, 1)
			var e *Error
			if !errors.As(err, &e) || e.Reason != Refused || !e.Passing() {
				t.Errorf("got %v", err)
			}
			pauses = append(pauses, time.Since(begin))
		}
		for i, p := range pauses {
			if i > 0 && p < pauses[i-1] || p > 10*time.Second {
				t.Errorf("pauses %v", pauses)
			}
		}
		if pauses[0] != 0 || pauses[9] != 10*time.Second {
			t.Errorf("pauses %v", pauses)
		}
		v.fail.Store(nil)
		w, _, err := h.Start(t.Context(), launch.Spec{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		echoes(t, w)
		h.Close()
		v.wg.Wait()
	})
}

// Who waits may give up; the attempt goes on for others, until Close.
func TestGivingUpAndClose(t *testing.T) {
	v := &village{hold: make(chan struct{})}
	h := New(v, somewhere, Config{Patience: time.Hour})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	got := make(chan error)
	go func() {
		_, _, err := h.Start(ctx, launch.Spec{}, 1)
		got <- err
	}()
	for v.dials.Load() == 0 { // until the attempt is made
		select {
		case err := <-got:
			t.Fatal(err)
		default:
		}
	}
	cancel(why)
	if err := <-got; !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	go func() {
		_, _, err := h.Start(t.Context(), launch.Spec{}, 1)
		got <- err
	}()
	h.Close()
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if n := v.dials.Load(); n != 1 {
		t.Errorf("%d attempts", n)
	}
}

// A node that does not answer is not waited for.
func TestSilentNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &village{hold: make(chan struct{})}
		h := New(v, somewhere, Config{Patience: time.Minute})
		_, _, err := h.Start(t.Context(), launch.Spec{}, 1)
		var e *Error
		if !errors.As(err, &e) || e.Reason != TimedOut {
			t.Errorf("got %v", err)
		}
		h.Close()
	})
}

// What ssh says, and how it ends, tells the reasons apart.
func TestReasons(t *testing.T) {
	ssh := Address{Scheme: "ssh", User: "me", Host: "build1"}
	none := &ship.Error{Stage: ship.StageNoShell, Err: io.EOF}
	for _, test := range []struct {
		said    string
		code    int
		err     error
		reason  string
		passing bool
	}{
		{"ssh: Could not resolve hostname build1: Name or service not known", 255, none, NoHost, true},
		{"ssh: connect to host build1 port 22: Connection refused", 255, none, Refused, true},
		{"ssh: connect to host build1 port 22: No route to host", 255, none, Unreachable, true},
		{"ssh: connect to host build1 port 22: Connection timed out", 255, none, TimedOut, true},
		{"ssh: connect to host build1 port 22: Invalid argument", 255, none, Unreachable, true},
		{"kex_exchange_identification: Connection closed by remote host", 255, none, Lost, true},
		{"me@build1: Permission denied (publickey,password).", 255, none, Auth, false},
		{"Host key verification failed.", 255, none, HostKey, false},
		{"@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.", 255, none, HostKey, false},
		{"Can't open user config file f: No such file or directory", 255, none, Other, false},
		{"f: line 1: Bad configuration option: foo\r\nf: terminating, 1 bad configuration options", 255, none, Other, false},
		{"something that ssh has never said", 255, none, Other, false},
		{"", 1, none, NoShell, false},
		{"fatal: Interactive git shell is not enabled.", 128, none, NoShell, false},
		{"This account is currently not available.", 1, none, NoShell, false},
		{"", 0, &ship.Error{Stage: ship.StageNoProgram, System: "linux/arm64"}, Architecture, false},
		{"", 0, &ship.Error{Stage: ship.StageUnknownSystem}, Architecture, false},
		{"", 0, &ship.Error{Stage: ship.StageNoSpace}, NoSpace, false},
		{"", 0, &ship.Error{Stage: ship.StageNoDirectory}, NoDirectory, false},
		{"", 0, &ship.Error{Stage: ship.StageStart}, NotStarted, false},
		{"", 255, &ship.Error{Stage: ship.StageUpload}, Lost, true},
		{"", -1, ship.ErrSilent, TimedOut, true},
		{"", -1, &ship.Error{Stage: ship.StageNoShell, Err: ship.ErrSilent}, TimedOut, true},
		{"", -1, &ship.Error{Stage: ship.StageUpload, Err: ship.ErrSilent}, TimedOut, true},
		{"", -1, &ship.Error{Stage: ship.StageStart, Err: ship.ErrSilent}, NotStarted, false},
		{"", 0, &ship.Error{Stage: ship.StageTerminal}, Other, false},
		{"", 1, errors.New("something else"), Other, false},
	} {
		err := explain(t.Context(), &ssh, test.err, &launch.Exit{Code: test.code, Stderr: test.said})
		var e *Error
		if !errors.As(err, &e) || e.Reason != test.reason || e.Passing() != test.passing {
			t.Errorf("%q, %v: %v", test.said, test.err, err)
			continue
		}
		for _, want := range []string{"ssh to me@build1", test.reason, test.said} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
	}
}

func TestCommands(t *testing.T) {
	for want, a := range map[string]Address{
		"ssh -T -oBatchMode=yes -oConnectTimeout=10 -oCompression=no -oClearAllForwardings=yes -oServerAliveInterval=3 -oServerAliveCountMax=3 -F f -l me -p 22 -- h exec sh": {Scheme: "ssh", User: "me", Host: "h", Port: "22", Config: "f"},
		"docker exec -i web1 sh": {Scheme: "exec", Command: []string{"docker", "exec", "-i", "web1"}},
		"/bin/dash":              {Scheme: "exec", Command: []string{"/bin/dash"}},
		"busybox sh":             {Scheme: "exec", Command: []string{"busybox", "sh"}},
	} {
		if got := strings.Join(a.command(2100*time.Millisecond), " "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A command that fails before it has run a shell says why, and is not blamed on the
// shell.
func TestReasonsOfCommands(t *testing.T) {
	docker := Address{Scheme: "exec", Command: []string{"docker", "exec", "-i", "web1"}}
	none := &ship.Error{Stage: ship.StageNoShell, Err: io.EOF}
	for _, test := range []struct {
		said   string
		code   int
		reason string
	}{
		{"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", 1, Other},
		{"Error response from daemon: No such container: web1", 1, Other},
		{`OCI runtime exec failed: exec: "sh": executable file not found in $PATH`, 126, NoShell},
		{"sh: not found", 127, NoShell},
		{"", 1, NoShell},
		{"what a command says that is not a shell", 0, NoShell},
	} {
		err := explain(t.Context(), &docker, none, &launch.Exit{Code: test.code, Stderr: test.said})
		var e *Error
		if !errors.As(err, &e) || e.Reason != test.reason || e.Passing() || !strings.Contains(err.Error(), test.said) {
			t.Errorf("%q, %d: %v", test.said, test.code, err)
		}
	}
}

// An error names its host and its reason once.
func TestErrorsSayItOnce(t *testing.T) {
	ssh, exec := Address{Scheme: "ssh", Host: "h"}, Address{Scheme: "exec", Command: []string{"box"}}
	staged := func(stage ship.Stage, output string) error {
		return &ship.Error{Stage: stage, System: "linux/arm64", Output: output, Err: errors.New("because")}
	}
	tcp, unix := Address{Scheme: "tcp", Network: "127.0.0.1:7227"}, Address{Scheme: "unix", Network: "/s"}
	for want, err := range map[string]error{
		"ssh to h: no program for its architecture: linux/arm64: because":   explain(t.Context(), &ssh, staged(ship.StageNoProgram, ""), nil),
		"ssh to h: no space: because; the last output was:\n\tdf":           explain(t.Context(), &ssh, staged(ship.StageNoSpace, "df"), nil),
		"ssh to h: the program did not start: because":                      explain(t.Context(), &ssh, staged(ship.StageStart, ""), nil),
		"ssh to h: connection lost: while the program was brought: because": explain(t.Context(), &ssh, staged(ship.StageUpload, ""), nil),
		"box: no shell: because (exit status 127)":                          explain(t.Context(), &exec, staged(ship.StageNoShell, ""), &launch.Exit{Code: 127}),
		"127.0.0.1:7227: connection refused":                                explain(t.Context(), &tcp, syscall.ECONNREFUSED, nil),
		"127.0.0.1:7227: host unreachable: no route to host":                explain(t.Context(), &tcp, syscall.EHOSTUNREACH, nil),
		"h: connection refused":                                             Dialed("h", syscall.ECONNREFUSED),
		"/s: connection refused: no such file or directory":                 explain(t.Context(), &unix, &os.PathError{Op: "connect", Path: "/s", Err: syscall.ENOENT}, nil),
		"127.0.0.1:7227: failed: no such file or directory":                 explain(t.Context(), &tcp, syscall.ENOENT, nil),
	} {
		var e *Error
		if err.Error() != want || !errors.As(err, &e) {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}
