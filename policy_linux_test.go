package afar_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/afar-go/afar"
)

// hogLimit is the memory that a test's cgroup allows: a worker fits in, what it
// allocates then does not.
const hogLimit = 128 << 20

var hog = afar.Func(eat)

func eat(context.Context, int) (int, error) {
	debug.SetGCPercent(-1)
	for all := [][]byte{}; ; {
		piece := make([]byte, 1<<20)
		for i := 0; i < len(piece); i += 4096 {
			piece[i] = 1
		}
		all = append(all, piece)
	}
}

// memoryGroup makes a small memory cgroup and returns its directory. It skips
// the test where that is impossible.
func memoryGroup(t *testing.T) string {
	t.Helper()
	name := "afar-test-" + strconv.Itoa(os.Getpid())
	var reasons []error
	for _, version := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		dir := filepath.Join(version.root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			reasons = append(reasons, err)
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		// Without O_CREATE: a plain directory is no cgroup.
		limit, err := os.OpenFile(filepath.Join(dir, version.limit), os.O_WRONLY, 0)
		if err == nil {
			_, err = limit.WriteString(strconv.Itoa(hogLimit))
			err = errors.Join(err, limit.Close())
		}
		if err == nil {
			_ = os.WriteFile(filepath.Join(dir, "memory.swap.max"), []byte("0"), 0)
			_ = os.WriteFile(filepath.Join(dir, "memory.memsw.limit_in_bytes"), []byte(strconv.Itoa(hogLimit)), 0)
			return dir
		}
		reasons = append(reasons, err)
	}
	t.Skipf("no memory cgroup is writable: %v", errors.Join(reasons...))
	return ""
}

// A worker that the kernel kills for want of memory is reported as such.
func TestOutOfMemory(t *testing.T) {
	group := memoryGroup(t)
	pool := open(t, "local:1")
	pid := pool.Status().Workers[0].PID
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		t.Fatal(err)
	}
	_, err := hog.On(afar.With(pool, afar.Policy{MaxAttempts: 1}))(within(t), 0)
	var lost *afar.WorkerLostError
	if !errors.As(err, &lost) || !lost.OutOfMemory || lost.Signal != "killed" || lost.ExitCode != -1 || lost.PID != pid {
		t.Errorf("%v: %+v", err, lost)
	}
	if err == nil || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("%v", err)
	}
	if out, err := square.On(pool)(within(t), 3); out != 9 || err != nil {
		t.Errorf("afterwards: %d, %v", out, err)
	}
}
