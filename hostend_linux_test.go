package afar_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/launch"
)

// What ends on a host, or does not begin there, is told apart: the way to it, its agent's program, and its workers.

// parent returns the parent of a process.
func parent(t testing.TB, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	do(t, err)
	found := regexp.MustCompile(`(?m)^PPid:\s*(\d+)$`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("process %d has no parent", pid)
	}
	ppid, err := strconv.Atoi(string(found[1]))
	do(t, err)
	return ppid
}

// A call whose host is lost says that it was the host, not nothing.
func TestCallLosesItsHost(t *testing.T) {
	var log notebook
	c := abroad(t)
	c.Log = slog.NewTextHandler(&log, nil)
	d := newDesk(t)
	pool := openWith(t, c, "exec:sh?workers=1")
	ended := make(chan error, 1)
	go func() {
		_, err := waitAt.On(afar.With(pool, afar.Policy{MaxAttempts: 1}))(within(t), visit{Desk: d.addr(), Name: "caller", Stubborn: true})
		ended <- err
	}()
	v := d.next(t)
	do(t, syscall.Kill(parent(t, v.pid), syscall.SIGKILL)) // the agent, which is the connection's end
	err := receive(t, ended)
	var lost *afar.WorkerLostError
	if !errors.As(err, &lost) || !strings.Contains(lost.Reason, "sh: connection lost") || lost.ExitCode != -1 {
		t.Errorf("%#v", err)
	}
	v.gone(t)
	at(t, pool, thisMachine{})
	if !strings.Contains(log.String(), "connection lost") || strings.Contains(log.String(), `cause=""`) {
		t.Error(log.String())
	}
}

// written is a link that is read when writing has failed.
type written struct {
	launch.Link
	failed chan struct{}
	once   sync.Once
}

func (w *written) Read(p []byte) (int, error) {
	<-w.failed
	return w.Link.Read(p)
}

func (w *written) Write(p []byte) (int, error) { return len(p), w.Writev(p) }

func (w *written) Writev(bufs ...[]byte) error {
	err := w.Link.Writev(bufs...)
	if err != nil {
		w.once.Do(func() { close(w.failed) })
	}
	return err
}

// A worker that crashes at its start on a host says how, as one here does, also if that is known before anything is
// said to it.
func TestWorkerCrashesAtStartOnAHost(t *testing.T) {
	c := abroad(t)
	c.StartTimeout = patience
	ctx := launch.WithWrapper(within(t), func(id string, link launch.Link) launch.Link {
		if id != "odd" {
			return link
		}
		if said, err := io.ReadAll(link); len(said) > 0 || err != nil {
			t.Errorf("it says %q, %v", said, err)
		}
		return &written{Link: link, failed: make(chan struct{})}
	})
	pool, err := c.Open(ctx, "exec:sh?workers=1&id=odd&env."+startVariable+"=crash")
	if err == nil {
		_ = pool.Close()
		t.Fatal("Open succeeds")
	}
	tells(t, err, "odd", "before its hello", "exit status 13", "cannot find my configuration")
	var lost *afar.WorkerLostError
	if !errors.As(err, &lost) || lost.ExitCode != 13 || lost.Reason != "" {
		t.Errorf("%#v", lost)
	}
}

// What a host within reach refuses is known by its reason too, and the error does not name the host beside the target.
func TestHostRefusesAWorker(t *testing.T) {
	target := "exec:env A=b sh?workers=1&dir=/missing"
	err := refused(t, abroad(t), target, "worker refused")
	tells(t, err, "/missing")
	if strings.Count(err.Error(), "env A=b sh") != 1 {
		t.Error(err)
	}
}

// A program in the cache of a host that runs and never serves is replaced, even if it has run from there before.
func TestHostHasAProgramThatDoesNotServe(t *testing.T) {
	c := abroad(t)
	home := t.TempDir()
	target := "exec:env XDG_CACHE_HOME=" + home + " sh?workers=1"
	do(t, openWith(t, c, target).Close())
	found, err := filepath.Glob(filepath.Join(home, "afar", "images", strings.Repeat("?", 64)))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	do(t, os.WriteFile(found[0]+".ran", nil, 0o600))
	do(t, os.Remove(found[0]))
	do(t, os.WriteFile(found[0], []byte("#!/bin/sh\necho I dream >&2\nexec sleep 1000\n"), 0o700))
	c.StartTimeout = 10 * time.Second // of which it gets half
	pool := openWith(t, c, target)
	at(t, pool, thisMachine{})
	do(t, pool.Close())
	if info, err := os.Stat(found[0]); err != nil || info.Size() < 1000 {
		t.Error("it is still there", err)
	}
}
