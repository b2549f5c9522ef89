package afar_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar"
	"go.uber.org/goleak"
)

// The test binary plays every part: it runs the tests, it is the workers, with
// startVariable it is a worker that fails to become one, and with roleVariable a
// program that a test starts.
const (
	startVariable = "AFAR_TEST_START"
	roleVariable  = "AFAR_TEST_ROLE"
	deskVariable  = "AFAR_TEST_DESK"
)

// patience bounds every wait for an event that must come; tests that pass do
// not come near it.
const patience = 60 * time.Second

var (
	starts = map[string]func(){} // by startVariable, before afar.Main
	roles  = map[string]func(){} // by roleVariable, after it
)

func TestMain(m *testing.M) {
	if start := starts[os.Getenv(startVariable)]; start != nil {
		start()
	}
	afar.Main()
	// A program built with -race sleeps for a second at its end otherwise.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	if role := roles[os.Getenv(roleVariable)]; role != nil {
		role()
		os.Exit(0)
	}
	goleak.VerifyTestMain(childless{m})
}

// childless fails a test run that leaves processes behind.
type childless struct{ m *testing.M }

func (c childless) Run() int {
	code := c.m.Run()
	if code == 0 && hasChildren() {
		fmt.Fprintln(os.Stderr, "a process that a test started is still there")
		return 1
	}
	return code
}

// everywhere runs a test with both kinds of workers.
func everywhere(t *testing.T, test func(t *testing.T, scheme string)) {
	for _, scheme := range []string{"inproc", "local"} {
		t.Run(scheme, func(t *testing.T) { test(t, scheme) })
	}
}

// within returns a context that ends only when a test hangs.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open opens a quiet pool that is closed at the end of the test.
func open(t testing.TB, targets ...string) *afar.Pool {
	t.Helper()
	return openWith(t, afar.Config{Stderr: io.Discard}, targets...)
}

func openWith(t testing.TB, c afar.Config, targets ...string) *afar.Pool {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.DiscardHandler
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = patience // the machine may be busy
	}
	pool, err := c.Open(within(t), targets...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return pool
}

// notebook is a writer for concurrent use.
type notebook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notebook) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(p)
}

func (n *notebook) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// message returns what f panics with.
func message(f func()) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprint(p)
		}
	}()
	f()
	return ""
}

// receive waits for a value, with patience.
func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("what the test waits for does not happen")
		panic("unreachable")
	}
}
