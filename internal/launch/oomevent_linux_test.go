package launch_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/afar-go/afar/internal/launch"
	"golang.org/x/sys/unix"
)

// hogLimit is the memory that the test's cgroup allows: a worker fits in, what it allocates then does not.
const hogLimit = 96 << 20

func init() {
	scripts["hog"] = func(in *launch.Inherited) {
		command := make([]byte, 1)
		_, _ = in.Link.Read(command)
		if command[0] == 'l' { // The address space is limited instead, so the Go runtime itself gives up.
			if raceDetector() { // It needs memory first, and words the end in its own way.
				fmt.Fprintln(os.Stderr, "fatal error: runtime: out of memory")
				os.Exit(2)
			}
			_ = unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
		}
		debug.SetGCPercent(-1)
		for all := [][]byte{}; ; {
			piece := make([]byte, 1<<20)
			for i := 0; i < len(piece); i += 4096 {
				piece[i] = 1
			}
			all = append(all, piece)
		}
	}
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// memoryGroup makes a small memory cgroup and returns its directory. It skips the test where that is impossible.
func memoryGroup(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("afar-launch-test-%d", os.Getpid())
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
		// The limit's file must be there already: a plain directory is no cgroup, and a cgroup need not limit memory.
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

func TestOutOfMemoryByTheKernel(t *testing.T) {
	group := memoryGroup(t)
	hog, bystander := start(t, spec("hog")), start(t, spec("echo"))
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(hog.PID())), 0); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(hog.Link(), "g")
	exit := exitOf(t, hog)
	if exit.Signal != "killed" || exit.Code != -1 || !exit.OutOfMemory {
		t.Errorf("%#v", exit)
	}
	if got := exit.String(); got != "signal: killed (out of memory)" {
		t.Error(got)
	}

	// The counters rose in the life of this one too, but it was not the victim.
	_ = unix.Kill(bystander.PID(), unix.SIGKILL)
	got, conclusive := exitOf(t, bystander), launch.KernelLogReadable()
	if conclusive && got.OutOfMemory {
		t.Errorf("bystander: %#v", got)
	}
}

// The links of a dead worker end before it can be reaped, and Kill is the usual answer: it must not hide the cause.
func TestOutOfMemoryThenKill(t *testing.T) {
	group := memoryGroup(t)
	hog := start(t, spec("hog"))
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(hog.PID())), 0); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(hog.Link(), "g")
	_, _ = hog.Link().Read(make([]byte, 1))
	_ = hog.Kill()
	if exit := exitOf(t, hog); exit.Signal != "killed" || !exit.OutOfMemory {
		t.Errorf("%#v", exit)
	}
}

// Each kind of evidence is enough by itself, as far as it goes.
func TestOutOfMemoryEvidence(t *testing.T) {
	group := memoryGroup(t)
	weigh := launch.WatchEvidence(filepath.Base(group), strings.HasPrefix(group, "/sys/fs/cgroup/memory/"))
	hog := start(t, spec("hog"))
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(hog.PID())), 0); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(hog.Link(), "g")
	exitOf(t, hog)
	for what, wrong := range weigh(hog.PID()) {
		if wrong != nil {
			t.Errorf("%s: %v", what, wrong)
		}
	}
}

func TestOutOfMemoryByTheRuntime(t *testing.T) {
	hog := start(t, spec("hog"))
	fmt.Fprint(hog.Link(), "l")
	exit := exitOf(t, hog)
	if !exit.OutOfMemory || exit.String() != "exit status 2 (out of memory)" {
		t.Errorf("%s: %.300s", exit, exit.Stderr)
	}
}

func TestKillIsNotOutOfMemory(t *testing.T) {
	for _, end := range []func(w *launch.Worker){
		func(w *launch.Worker) { _ = w.Kill() },
		func(w *launch.Worker) { _ = unix.Kill(w.PID(), unix.SIGKILL) },
	} {
		w := start(t, spec("echo"))
		end(w)
		if exit := exitOf(t, w); exit.OutOfMemory || exit.Signal != "killed" {
			t.Errorf("%#v", exit)
		}
	}
}
