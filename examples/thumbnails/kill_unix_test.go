//go:build unix

package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/proctest"
)

// trap is a picture in the middle of which a worker stops: a pipe that nothing comes through.
type trap struct {
	path   string
	sprung chan *os.File // the other end, once somebody reads
}

// setTrap puts a trap among the pictures of a directory.
func setTrap(t *testing.T, dir string) *trap {
	t.Helper()
	p := &trap{filepath.Join(dir, "trap.png"), make(chan *os.File, 1)}
	if err := syscall.Mkfifo(p.path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		w, err := os.OpenFile(p.path, os.O_WRONLY, 0) // waits for who reads
		if err != nil {
			t.Errorf("the trap: %v", err)
		}
		p.sprung <- w
	}()
	return p
}

// await waits until a worker is in the trap, and puts a good picture in the trap's place for
// whoever comes next. The worker stays in it until release is called.
func (p *trap) await(ctx context.Context, t *testing.T) (release func()) {
	t.Helper()
	select {
	case w := <-p.sprung:
		if err := writePicture(p.path, draw(1), 0); err != nil {
			t.Fatal(err)
		}
		return func() { _ = w.Close() }
	case <-ctx.Done():
		t.Fatal("no worker came to the trap")
		return nil
	}
}

// A worker is killed in the middle, with kill -9: nothing is lost, and nobody has to do anything
// about it but to let others work.
func TestKilledWorker(t *testing.T) {
	broker := "-broker=" + proctest.Redis(t)
	dir := filepath.Join(t.TempDir(), "pictures")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.png", "b.jpg", "c.JPEG", "x.png", "y.jpg", "z.PNG"} {
		if err := writePicture(filepath.Join(dir, name), draw(len(name)), 0); err != nil {
			t.Fatal(err)
		}
	}
	trap := setTrap(t, dir)
	customer := asProgram.Start(t, broker, dir)
	victim := asProgram.Start(t, broker, "-work", "-lease=2s")
	release := trap.await(within(t), t)
	victim.Kill(t)
	if o := victim.End(t); o.Status != -1 {
		t.Errorf("the victim: %+v", o)
	}
	release()
	asProgram.Start(t, broker, "-work")
	if o := customer.End(t); o.Status != 0 || o.Stderr != "" || !strings.Contains(o.Stdout, "trap.png: 64 x 43\n") ||
		!strings.HasSuffix(o.Stdout, "\n7 pictures, 7 thumbnails\n") {
		t.Errorf("the customer: %+v", o)
	}
	checkThumbnails(t, dir, 7)
}

// The same with worker processes that a pool has started: it notices at once, so there is no
// lease to wait for.
func TestKilledProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pictures")
	asProgram.Ask(t, "", "", "-make=6", dir)
	if err := os.Remove(filepath.Join(dir, "005.jpg")); err != nil { // the damaged one
		t.Fatal(err)
	}
	trap := setTrap(t, dir)
	quiet := afar.Config{Log: slog.DiscardHandler} // the pool warns of the lost worker
	pool, err := quiet.Open(t.Context(), "local:2")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	q, stop := inMemory(t.Context(), pool)
	defer stop()
	var stdout bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- (&studio{queue: q, stdout: &stdout}).shrink(t.Context(), dir) }()

	release := trap.await(within(t), t)
	for _, g := range pool.Gateways() { // one of them is in the trap
		if err := g.Kill(); err != nil {
			t.Error(err)
		}
	}
	release()
	if err := <-ended; err != nil || !strings.Contains(stdout.String(), "trap.png: 64 x 43\n") {
		t.Errorf("%v\n%s", err, &stdout)
	}
	checkThumbnails(t, dir, 6)
}
