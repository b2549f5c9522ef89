package launch_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/afar-go/afar/internal/launch"
	"golang.org/x/sys/unix"
)

func init() {
	scripts["signal"] = func(in *launch.Inherited) {
		n, _ := strconv.Atoi(os.Getenv(argVariable))
		// The Go runtime handles some signals in other ways; those of the test end a program.
		_ = unix.Kill(unix.Getpid(), syscall.Signal(n))
		awaitEnd(in) // Another thread may take the signal.
	}
	// family has a child in its group and one that left it, tells their process IDs, and does what it is told.
	scripts["family"] = func(in *launch.Inherited) {
		near, far := sleeper(false), sleeper(strings.Contains(os.Getenv(argVariable), "far"))
		fmt.Fprintln(in.Link, near, far)
		switch command, _ := bufio.NewReader(in.Link).ReadString('\n'); command {
		case "exit\n":
			os.Exit(4)
		case "end\n":
			in.End(5)
		case "print\n":
			for i := range 500 {
				fmt.Println("last word", i)
			}
			os.Exit(6)
		default: // the end of the link
			in.End(0)
		}
	}
	scripts["nice"] = func(in *launch.Inherited) {
		// Every thread counts, also one that existed before Inherit.
		stats, _ := filepath.Glob("/proc/self/task/*/stat")
		var all []string
		for _, path := range stats {
			stat, _ := os.ReadFile(path)
			all = append(all, string(bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])[16]))
		}
		fmt.Fprintln(in.Link, strings.Join(all, " "))
	}
	scripts["descriptors"] = func(in *launch.Inherited) {
		child := exec.Command("sleep", "1000")
		if err := child.Start(); err != nil {
			panic(err)
		}
		fmt.Fprintln(in.Link, inherited("self"), "|", inherited(strconv.Itoa(child.Process.Pid)))
	}

	scripts["nested"] = func(in *launch.Inherited) {
		w, err := launch.Local(spec("where"))
		if err != nil {
			panic(err)
		}
		_, _ = io.Copy(in.Link, w.Link())
		fmt.Fprintln(in.Link, w.Exit())
	}

	roles["parent"] = parent
	roles["descriptors"] = func() {
		w, err := launch.Local(spec("descriptors"))
		if err != nil {
			panic(err)
		}
		_, _ = io.Copy(os.Stdout, w.Link())
		w.Exit()
	}
	roles["deleted"] = func() {
		if err := os.Remove(os.Args[0]); err != nil {
			panic(err)
		}
		if os.Getenv(argVariable) == "replaced" {
			if err := os.WriteFile(os.Args[0], []byte("#!/bin/false\n"), 0o700); err != nil {
				panic(err)
			}
		}
		w, err := launch.Local(spec("where"))
		if err != nil {
			panic(err)
		}
		own, _ := launch.ImageID()
		hash, err := launch.ImageHash()
		line, _ := io.ReadAll(w.Link())
		fmt.Println(strings.HasSuffix(string(line), "|"+own+"\n"), hash, err, w.Exit())
	}
}

// sleeper starts a program that ends only when it is killed, in its own session if it shall leave the group.
func sleeper(far bool) int {
	cmd := exec.Command("sh", "-c", `trap "" HUP; exec sleep 1000`)
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: far}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	return cmd.Process.Pid
}

// inherited lists the descriptors of a process that lack close-on-exec.
func inherited(pid string) string {
	entries, _ := os.ReadDir("/proc/" + pid + "/fd")
	var all []string
	for _, entry := range entries {
		info, _ := os.ReadFile("/proc/" + pid + "/fdinfo/" + entry.Name())
		_, flags, _ := strings.Cut(string(info), "flags:")
		bits, _ := strconv.ParseUint(strings.TrimSpace(strings.SplitN(flags, "\n", 2)[0]), 8, 64)
		if len(info) > 0 && bits&unix.O_CLOEXEC == 0 {
			all = append(all, entry.Name())
		}
	}
	return strings.Join(all, " ")
}

// parent starts a family, stops the worker if asked, tells the process IDs, and waits to be killed.
func parent() {
	w, err := launch.Local(spec("family"))
	if err != nil {
		panic(err)
	}
	line, _ := bufio.NewReader(w.Link()).ReadString('\n')
	if stop := os.Getenv(argVariable); stop != "" {
		pid := w.PID()
		if stop == "stopped with its group" {
			pid = -pid
		}
		_ = unix.Kill(pid, unix.SIGSTOP)
		for unix.Waitid(unix.P_PID, w.PID(), nil, unix.WSTOPPED|unix.WNOWAIT, nil) == unix.EINTR {
		}
	}
	fmt.Print(w.PID(), " ", line)
	w.Exit()
}

// watch returns a function that waits until the process is gone. It holds on to the process itself, not its number.
func watch(t *testing.T, pid int) func() {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("process %d: %v", pid, err)
	}
	t.Cleanup(func() {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		_ = unix.Close(fd)
	})
	return func() {
		t.Helper()
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(fds, int(patience.Milliseconds()))
			if err == unix.EINTR {
				continue
			}
			if n != 1 {
				t.Errorf("process %d is still there", pid)
			}
			return
		}
	}
}

func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		if signal.Ignored(sig) {
			continue // the tests were started by nohup
		}
		got := exitOf(t, start(t, spec("signal", strconv.Itoa(int(sig)))))
		if got != (launch.Exit{Code: -1, Signal: sig.String()}) {
			t.Errorf("%v: %#v", sig, got)
		}
	}
}

// However a worker ends, no process of its group survives it.
func TestGroupDiesWithWorker(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(w *launch.Worker)
		want string
	}{
		{"Kill", func(w *launch.Worker) { _ = w.Kill() }, "signal: killed"},
		{"exit", func(w *launch.Worker) { fmt.Fprintln(w.Link(), "exit") }, "exit status 4"},
		{"End", func(w *launch.Worker) { fmt.Fprintln(w.Link(), "end") }, "exit status 5"},
		{"Close of the link", func(w *launch.Worker) { _ = w.Link().Close() }, "exit status 0"},
		{"foreign SIGKILL", func(w *launch.Worker) { _ = unix.Kill(w.PID(), unix.SIGKILL) }, "signal: killed"},
		{"Kill while stopped", func(w *launch.Worker) {
			_ = unix.Kill(w.PID(), unix.SIGSTOP)
			_ = w.Kill()
		}, "signal: killed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := start(t, spec("family"))
			var near, far int
			if _, err := fmt.Sscan(readLine(t, w.Link()), &near, &far); err != nil {
				t.Fatal(err)
			}
			nearGone, farGone := watch(t, near), watch(t, far)
			test.end(w)
			if got := exitOf(t, w).String(); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			nearGone()
			farGone()
		})
	}
}

func TestWorkerDiesWithParent(t *testing.T) {
	for _, arg := range []string{"", "stopped", "stopped with its group"} {
		t.Run("worker "+arg, func(t *testing.T) {
			var pids [3]int
			kill := inRole(t, "parent", arg, &pids[0], &pids[1], &pids[2])
			var gone []func()
			for _, pid := range pids {
				gone = append(gone, watch(t, pid))
			}
			kill()
			for _, wait := range gone {
				wait()
			}
		})
	}
}

// inRole starts the test binary in a role, reads what it says first, and returns what kills it.
func inRole(t *testing.T, role, arg string, says ...any) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, argVariable+"="+arg)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := fmt.Fscan(out, says...); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
}

// A worker survives the end of the thread that started it, at which the kernel sends the parent-death signal.
func TestWorkerSurvivesStartingThread(t *testing.T) {
	started := make(chan *launch.Worker)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		started <- start(t, spec("echo"))
	}()
	w := <-started
	fmt.Fprintln(w.Link(), "alive")
	if got := readLine(t, w.Link()); got != "alive" {
		t.Error(got)
	}
}

// A program that left the group and holds the output does not hold up Done, nor does it swallow the last words.
func TestHeldOutput(t *testing.T) {
	s := spec("family", "far")
	lines := 0
	s.Output = func([]byte) { lines++ }
	w := start(t, s)
	var near, far int
	if _, err := fmt.Sscan(readLine(t, w.Link()), &near, &far); err != nil {
		t.Fatal(err)
	}
	watch(t, far) // ends it after the test
	fmt.Fprintln(w.Link(), "print")
	if exit := exitOf(t, w); exit.Code != 6 || !strings.HasSuffix(exit.Stderr, "last word 499") {
		t.Errorf("%#v", exit)
	}
	if lines != 500 {
		t.Errorf("%d lines", lines)
	}
}

// runRole runs the test binary, or a copy of it, in a role.
func runRole(t *testing.T, path, role, arg string, extra ...*os.File) string {
	t.Helper()
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, argVariable+"="+arg)
	cmd.ExtraFiles = extra
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestDeletedImage(t *testing.T) {
	hash, err := launch.ImageHash()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{"deleted", "replaced"} {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, program, 0o700); err != nil {
			t.Fatal(err)
		}
		want := "true " + hash + " <nil> exit status 0"
		if got := runRole(t, path, "deleted", arg); got != want {
			t.Errorf("%s: %s, want %s", arg, got, want)
		}
	}
}

func TestInheritedDescriptorsAreClosed(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	// The role gets 3 to 8 without close-on-exec; 3 and 4 become its worker's link.
	got := runRole(t, os.Args[0], "descriptors", "", null, null, null, null, null, null)
	if got != "0 1 2 | 0 1 2" {
		t.Errorf("descriptors of worker | grandchild: %s", got)
	}
}

func TestNice(t *testing.T) {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := spec("nice")
	s.Nice = 3
	for _, got := range strings.Fields(readLine(t, start(t, s).Link())) {
		if got != strconv.Itoa(20-raw+3) {
			t.Errorf("a thread has niceness %s", got)
		}
	}
}

func TestName(t *testing.T) {
	w := start(t, spec("echo"))
	fmt.Fprintln(w.Link(), "up")
	readLine(t, w.Link())
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", w.PID()))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(os.Args[0])
	if got, want := strings.TrimSpace(string(comm)), name[:min(len(name), 15)]; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWorkerStartsWorker(t *testing.T) {
	w := start(t, spec("nested"))
	said, err := io.ReadAll(w.Link())
	image, _ := launch.ImageID()
	if want := "|w-where|" + image + "\nexit status 0\n"; !strings.HasSuffix(string(said), want) || err != nil {
		t.Errorf("%q, %v", said, err)
	}
}

// Whatever numbers the descriptors get, below and above the image's, a worker starts.
func TestManyDescriptors(t *testing.T) {
	for range 60 {
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		if exit := exitOf(t, start(t, spec("exit", "3"))); exit.Code != 3 {
			t.Fatalf("%#v", exit)
		}
	}
}

func TestRSS(t *testing.T) {
	w := start(t, spec("echo"))
	fmt.Fprintln(w.Link(), "up")
	readLine(t, w.Link())
	if rss := w.RSS(); rss < 1<<20 || rss > 1<<30 {
		t.Errorf("%d bytes", rss)
	}
}

func TestNothingLeaks(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	exitOf(t, start(t, spec("exit", "0"))) // what is opened once is open now
	cycle := func(script string) {
		w, err := launch.Local(spec(script))
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Link().Close()
		w.Exit()
	}
	cycle("end")
	before := count()
	for range 10 {
		cycle("end")
		_, _ = launch.Local(launch.Spec{Env: []string{"NUL=\x00"}})
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

// Running out of descriptors while a worker is started is an error, and leaks none of them.
func TestNoDescriptorsLeft(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for spare := range 8 {
		tight := limit
		tight.Cur = uint64(len(entries) + spare)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &tight); err != nil {
			t.Fatal(err)
		}
		w, err := launch.Local(spec("echo"))
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			_ = w.Kill()
			_ = w.Link().Close()
			w.Exit()
		} else if !errors.Is(err, unix.EMFILE) {
			t.Errorf("%d spare: %v", spare, err)
		}
	}
	after, err := os.ReadDir("/proc/self/fd")
	if err != nil || len(after) > len(entries) {
		t.Errorf("%d descriptors before, %d after, %v", len(entries), len(after), err)
	}
}
