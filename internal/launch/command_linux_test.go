package launch_test

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/afar-go/afar/internal/launch"
	"golang.org/x/sys/unix"
)

func init() { roles["commander"] = commander }

// commander runs a command that ignores the end of its input, tells its process ID, and waits to be killed.
func commander() {
	w, err := launch.Command(launch.Order{Argv: []string{"sh", "-c", `trap "" HUP INT; echo up; exec sleep 1000`}})
	if err != nil {
		panic(err)
	}
	_, _ = bufio.NewReader(w.Link()).ReadString('\n')
	fmt.Println(w.PID())
	w.Exit()
}

// A command dies with its parent, even one that ignores the end of its input.
func TestCommandDiesWithParent(t *testing.T) {
	var pid int
	kill := inRole(t, "commander", "", &pid)
	gone := watch(t, pid)
	kill()
	gone()
}

// A command survives the end of the thread that asked for it.
func TestCommandSurvivesThread(t *testing.T) {
	var w *launch.Worker
	var err error
	onThread(func() { w, err = launch.Command(launch.Order{Argv: []string{"cat"}}) })
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w.Link(), "alive")
	if got := readLine(t, w.Link()); got != "alive" {
		t.Error(got)
	}
	_ = w.Link().Close()
	if exit := exitOf(t, w); exit.Code != 0 {
		t.Errorf("%#v", exit)
	}
}

// onThread calls a function on a thread that has ended when it returns.
func onThread(f func()) {
	ended := make(chan int)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() { // The first one outlives its goroutine: another one has to do.
			onThread(f)
			runtime.UnlockOSThread()
			ended <- 0
			return
		}
		f()
		ended <- unix.Gettid() // It is not unlocked: the thread ends with the goroutine.
	}()
	if thread := <-ended; thread != 0 {
		for unix.Tgkill(os.Getpid(), thread, 0) == nil {
			runtime.Gosched()
		}
	}
}
