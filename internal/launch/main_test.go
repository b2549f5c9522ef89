package launch_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"go.uber.org/goleak"
)

// The test binary plays every part. Without the variables below it runs the tests; with roleVariable it is a process
// between the test and a worker; and where launch.Inherit says so it is a worker, which follows the script named by
// scriptVariable.
const (
	roleVariable   = "LAUNCH_TEST_ROLE"
	scriptVariable = "LAUNCH_TEST_SCRIPT"
	argVariable    = "LAUNCH_TEST_ARG"
)

// patience bounds every wait for an event that must come; tests that pass do not come near it.
const patience = 30 * time.Second

var (
	scripts = map[string]func(in *launch.Inherited){}
	roles   = map[string]func(){}
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role == "forgot" {
		_, err := launch.Local(launch.Spec{})
		fmt.Println(err)
		os.Exit(0)
	}
	// A program built with -race sleeps for a second at its end otherwise; the tests start a hundred.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	launch.RememberImage()
	in, isWorker, err := launch.Inherit()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	if isWorker {
		runScript(in)
	}
	if role := os.Getenv(roleVariable); role != "" {
		roles[role]()
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

func runScript(in *launch.Inherited) {
	name := os.Getenv(scriptVariable)
	script := scripts[name]
	if script == nil {
		fmt.Fprintln(os.Stderr, "no script", strconv.Quote(name))
		in.End(98)
	}
	script(in)
	in.End(0)
}

// awaitEnd is the last step of most scripts: a worker ends with its link.
func awaitEnd(in *launch.Inherited) {
	_, _ = io.Copy(io.Discard, in.Link)
}

// spec is that of a worker that follows a script.
func spec(script string, args ...string) launch.Spec {
	return launch.Spec{
		ID:  "w-" + script,
		Env: []string{scriptVariable + "=" + script, argVariable + "=" + strings.Join(args, " ")},
	}
}

// start starts a worker that is gone at the end of the test.
func start(t testing.TB, s launch.Spec) *launch.Worker {
	t.Helper()
	w, err := launch.Local(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.Kill()
		<-w.Done()
		_ = w.Link().Close()
	})
	return w
}

// exitOf waits for the worker's end, with patience.
func exitOf(t testing.TB, w *launch.Worker) launch.Exit {
	t.Helper()
	select {
	case <-w.Done():
		return w.Exit()
	case <-time.After(patience):
		t.Fatal("the worker does not end")
		panic("unreachable")
	}
}

// readLine reads what a script said in one line on its link.
func readLine(t testing.TB, link io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(link).ReadString('\n')
	if err != nil {
		t.Fatalf("read %q: %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

func isClosed(err error) bool {
	return errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}
