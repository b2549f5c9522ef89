package afar_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/hosttest"
	"golang.org/x/sys/unix"
)

// imageVariable is where programs that a test starts find what portable is.
const imageVariable = "AFAR_TEST_IMAGE"

// abroad is the Config of tests with hosts: links die soon, and this program is known in a form that can go there. Caches of
// this user stay as they are.
func abroad(t testing.TB) afar.Config {
	t.Helper()
	image, err := hosttest.Image()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(imageVariable) == "" {
		t.Setenv("XDG_CACHE_HOME", t.TempDir())
		t.Setenv(imageVariable, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), image.Fd()))
	}
	return afar.Config{Stderr: io.Discard, Keepalive: 300 * time.Millisecond, Images: images()}
}

// images also works in a program that a test has started.
func images() map[string]string {
	return map[string]string{"linux/amd64": os.Getenv(imageVariable), "linux/arm64": os.Getenv(imageVariable)}
}

// presence is what a worker knows of where it is.
type presence struct {
	Host, Dir, Variable string
	PID, Nice           int
}

var where = afar.Func(lookWhere)

func lookWhere(_ context.Context, variable string) (presence, error) {
	p := presence{Variable: os.Getenv(variable), PID: os.Getpid()}
	var err error
	if p.Dir, err = os.Getwd(); err != nil {
		return p, err
	}
	if p.Host, err = os.Hostname(); err != nil {
		return p, err
	}
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	p.Nice = 20 - raw
	return p, err
}

// host is a *hosttest.Host, or thisMachine.
type host interface{ Name() string }

type thisMachine struct{}

// Name is the machine's.
func (thisMachine) Name() string {
	name, _ := os.Hostname()
	return name
}

// at checks that a runner's calls run on a host.
func at(t testing.TB, r afar.Runner, h host) presence {
	t.Helper()
	p, err := where.On(r)(within(t), "")
	if err != nil || p.Host != h.Name() {
		t.Fatalf("%+v, %v, want one on %s", p, err, h.Name())
	}
	return p
}

// squares checks a Map of many numbers: every result in its place, each once. In the middle of it, event happens.
func squares(t testing.TB, r afar.Runner, n int, event func()) {
	t.Helper()
	i := 0
	for out, err := range square.Map(within(t), r, numbers(n)) {
		if err != nil || out != i*i {
			t.Fatalf("result %d is %d, %v", i, out, err)
		}
		i++
		if i == n/3 && event != nil {
			event()
		}
	}
	if i != n {
		t.Fatalf("%d results of %d", i, n)
	}
}

// do fails a test when what a host was to do goes wrong.
func do(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// alone waits until nothing runs on hosts, but sessions of sshd if it is not to be waited for them.
func alone(t testing.TB, sessions bool, hosts ...*hosttest.Host) {
	t.Helper()
	for _, h := range hosts {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s:\n%s", h.Name(), h.Describe())
			}
		})
		hosttest.Until(t, "nothing runs on "+h.Name(), func() bool {
			left := len(h.Processes())
			if !sessions {
				left -= len(h.Sessions())
			}
			return left <= 0
		})
	}
}

// files lists the directory of programs on a host.
func files(t testing.TB, h *hosttest.Host) []os.FileInfo {
	t.Helper()
	entries, err := os.ReadDir(h.Path("/root/.cache/afar/images"))
	if err != nil {
		t.Fatal(err)
	}
	var programs []os.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && len(e.Name()) == 64 && !strings.Contains(e.Name(), ".") {
			programs = append(programs, info)
		}
	}
	return programs
}
