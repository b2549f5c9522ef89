// Command trivial is the smallest program with a worker: what afar itself costs in start-up time, memory and bytes.
//
// "trivial afar N TARGET" opens and closes the target N times, "trivial bare N -" starts and ends a bare copy of this
// binary. Both write a line for each: nanoseconds from the start to the first reply, nanoseconds for that and the
// closing, and bytes that were resident while the far side was idle.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/afar-go/afar"
)

// bareVar makes a copy of this binary a bare child, which says one byte and waits for the end of its input.
const bareVar = "AFAR_BENCH_BARE"

// settle is how long the far side idles before its memory is looked at.
const settle = 50 * time.Millisecond

var workerPID = afar.Func(workerPIDFunc)

func workerPIDFunc(context.Context, struct{}) (int, error) { return os.Getpid(), nil }

func main() {
	if os.Getenv(bareVar) != "" {
		serveBare()
	}
	afar.Main()
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "trivial:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 || args[0] != "afar" && args[0] != "bare" {
		return errors.New("usage: trivial afar|bare N TARGET")
	}
	start := startBare
	if args[0] == "afar" {
		start = func() (sample, error) { return startWorker(args[2]) }
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for range n {
		s, err := start()
		if err != nil {
			return err
		}
		fmt.Println(s.reply.Nanoseconds(), (s.reply + s.closing).Nanoseconds(), s.resident)
	}
	return nil
}

// A sample is one life of a far side.
type sample struct {
	reply    time.Duration // from nothing to the first reply
	closing  time.Duration // from the decision to close until it has gone
	resident int64         // bytes while idle
}

// startWorker lives through one worker.
func startWorker(target string) (s sample, err error) {
	ctx := context.Background()
	begin := time.Now()
	pool, err := afar.Open(ctx, target)
	if err != nil {
		return s, err
	}
	pid, err := workerPID.On(pool)(ctx, struct{}{})
	s.reply = time.Since(begin)
	local := strings.HasPrefix(target, "local:")
	if err == nil && local && pid == os.Getpid() {
		err = errors.New("the call ran in this process")
	}
	if err == nil && local {
		s.resident, err = idleMemory(pid)
	}
	begin = time.Now()
	err = errors.Join(err, pool.Close())
	s.closing = time.Since(begin)
	return s, err
}

// startBare lives through one bare child: its first byte is its reply.
func startBare() (s sample, err error) {
	begin := time.Now()
	farIn, out, err := os.Pipe()
	if err != nil {
		return s, err
	}
	in, farOut, err := os.Pipe()
	if err != nil {
		return s, err
	}
	defer in.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), bareVar+"=1")
	cmd.ExtraFiles = []*os.File{farIn, farOut}
	cmd.Stderr = os.Stderr
	err = cmd.Start()
	farIn.Close()
	farOut.Close()
	if err != nil {
		out.Close()
		return s, err
	}
	_, err = in.Read(make([]byte, 1))
	s.reply = time.Since(begin)
	if err == nil {
		s.resident, err = idleMemory(cmd.Process.Pid)
	}
	begin = time.Now()
	err = errors.Join(err, out.Close(), cmd.Wait())
	s.closing = time.Since(begin)
	return s, err
}

// serveBare is the bare child. It does not return.
func serveBare() {
	in, out := os.NewFile(3, "in"), os.NewFile(4, "out")
	if _, err := out.Write([]byte{1}); err != nil {
		os.Exit(1)
	}
	// Nothing is ever sent: this returns when the parent closes the pipe or dies.
	_, _ = in.Read(make([]byte, 1))
	os.Exit(0)
}

// idleMemory gives the resident bytes of a process that has been left alone for a moment. Where there is no /proc
// it gives an error.
func idleMemory(pid int) (int64, error) {
	time.Sleep(settle)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no resident set", pid)
}
