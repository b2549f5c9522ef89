package afar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/afartest"
)

// grow makes a directory with some of everything, and about size bytes of noise.
func grow(t testing.TB, size int) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range []string{"a", "sub/b", "sub/deep/ünï\ncode", "z"} {
		path := filepath.Join(dir, name)
		data := make([]byte, size/4)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(data)
		mustDo(t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o640))
	}
	mustDo(t, os.Symlink("/nowhere", filepath.Join(dir, "link")), os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	return dir
}

func mustDo(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// listing says what is in a directory.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	mustDo(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		link, _ := os.Readlink(path)
		fmt.Fprintf(&b, "%q %v %s", name, fi.Mode(), link)
		if fi.Mode()&fs.ModeSymlink == 0 {
			fmt.Fprintf(&b, " %d", fi.ModTime().UnixNano())
		}
		if fi.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", data)
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

func sameTree(t testing.TB, from, to string) {
	t.Helper()
	if listing(t, from) != listing(t, to) {
		t.Errorf("%s is not like %s", to, from)
	}
}

// TestPush: the workers of a host receive once, and then only what is different.
func TestPush(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		const size = 2 << 20
		pool := open(t, scheme+":4")
		from, to := grow(t, size), filepath.Join(t.TempDir(), "made")
		var stats afar.PushStats
		o := afar.PushOptions{Delete: true, Stats: &stats}
		push := func() {
			t.Helper()
			mustDo(t, afar.Push(within(t), pool, from, to, o))
			sameTree(t, from, to)
		}
		push()
		if stats.Directories != 1 || stats.Written != 4 || stats.Sent < size || stats.Sent > size+10_000 {
			t.Errorf("first: %+v", stats)
		}
		push()
		if stats.Written+stats.Changed+stats.Deleted > 0 || stats.Sent+stats.Received > 4000 {
			t.Errorf("unchanged: %+v", stats)
		}
		mustDo(t, os.Remove(filepath.Join(from, "a")), os.WriteFile(filepath.Join(from, "new"), []byte("new"), 0o600))
		var events []string
		o.Progress = func(e afar.PushEvent) {
			if e.Host == "" || e.Worker == "" {
				t.Errorf("%+v", e)
			}
			events = append(events, e.Op+" "+e.Path)
		}
		push()
		if got := strings.Join(events, ", "); got != "delete a, write new" {
			t.Errorf("events: %s", got)
		}
	})
}

// TestPushDirectories: remoteDir is below each worker's working directory, and a
// place that fails does not stop the others.
func TestPushDirectories(t *testing.T) {
	a, b, bad := t.TempDir(), t.TempDir(), t.TempDir()
	mustDo(t, os.WriteFile(filepath.Join(bad, "to"), nil, 0o600))
	pool := open(t, "local:2?dir="+a, "local:1?id=b&dir="+b, "local:1?id=bad&dir="+bad)
	from := grow(t, 1000)
	var stats afar.PushStats
	err := afar.Push(within(t), pool, from, "to", afar.PushOptions{Stats: &stats})
	if err == nil || !strings.Contains(err.Error(), "worker bad") || strings.Contains(err.Error(), "local-1") || strings.Contains(err.Error(), "worker b:") {
		t.Errorf("%v", err)
	}
	if stats.Directories != 3 || stats.Written != 8 {
		t.Errorf("%+v", stats)
	}
	sameTree(t, from, filepath.Join(a, "to"))
	sameTree(t, from, filepath.Join(b, "to"))
}

// TestPushSmallItems: items may be as small as they like.
func TestPushSmallItems(t *testing.T) {
	pool := openWith(t, afar.Config{MaxItem: 100, Stderr: io.Discard}, "local:1")
	from, to := grow(t, 50_000), t.TempDir()
	mustDo(t, afar.Push(within(t), pool, from, to, afar.PushOptions{}))
	sameTree(t, from, to)
}

// killFirst kills the worker that receives, once, when it has got something.
func killFirst(pool *afar.Pool, killed *atomic.Int32) func(afar.PushEvent) {
	return func(e afar.PushEvent) {
		if e.Op != "write" || killed.Add(1) > 1 {
			return
		}
		for _, g := range pool.Gateways() {
			if g.ID() == e.Worker {
				_ = g.Kill()
			}
		}
	}
}

// TestPushWorkerLost: another worker of the same directory takes over; without one
// the push fails, and the next leaves nothing of it.
func TestPushWorkerLost(t *testing.T) {
	from := grow(t, 16<<20)
	t.Run("another", func(t *testing.T) {
		pool, to := open(t, "local:2"), t.TempDir()
		var killed atomic.Int32
		mustDo(t, afar.Push(within(t), pool, from, to, afar.PushOptions{Progress: killFirst(pool, &killed)}))
		if killed.Load() == 0 {
			t.Error("no worker was killed")
		}
		sameTree(t, from, to)
	})
	t.Run("none", func(t *testing.T) {
		pool, to := open(t, "local:1"), t.TempDir()
		var killed atomic.Int32
		err := afar.Push(within(t), pool, from, to, afar.PushOptions{Progress: killFirst(pool, &killed)})
		if !errors.Is(err, afar.ErrWorkerLost) || !strings.Contains(err.Error(), "local-1") {
			t.Fatalf("%v", err)
		}
		mustDo(t, afar.Push(within(t), pool, from, to, afar.PushOptions{})) // without Delete
		sameTree(t, from, to)
	})
	t.Run("cut", func(t *testing.T) {
		pool, to := afartest.Open(t, 2), t.TempDir()
		var cut atomic.Bool
		mustDo(t, afar.Push(within(t), pool.Pool, from, to, afar.PushOptions{Delete: true, Progress: func(e afar.PushEvent) {
			if e.Op == "write" && cut.CompareAndSwap(false, true) {
				for i, g := range pool.Gateways() {
					if g.ID() == e.Worker {
						pool.Cut(i)
					}
				}
			}
		}}))
		sameTree(t, from, to)
	})
}

// TestPushCanceled: the end of its context ends a push.
func TestPushCanceled(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool, from := open(t, scheme+":2"), grow(t, 8<<20)
		ctx, cancel := context.WithCancel(within(t))
		defer cancel()
		err := afar.Push(ctx, pool, from, t.TempDir(), afar.PushOptions{Progress: func(e afar.PushEvent) {
			if e.Op == "write" {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

// TestPushRefused: what cannot begin says why.
func TestPushRefused(t *testing.T) {
	pool, from := open(t, "inproc:1"), grow(t, 100)
	for name, err := range map[string]error{
		"nil pool":       afar.Push(within(t), nil, from, t.TempDir(), afar.PushOptions{}),
		"no source":      afar.Push(within(t), pool, filepath.Join(from, "missing"), t.TempDir(), afar.PushOptions{}),
		"a file":         afar.Push(within(t), pool, filepath.Join(from, "a"), t.TempDir(), afar.PushOptions{}),
		"onto itself":    afar.Push(within(t), pool, from, from, afar.PushOptions{}),
		"no destination": afar.Push(within(t), pool, from, "", afar.PushOptions{}),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "afar: push: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustDo(t, pool.Close())
	if err := afar.Push(within(t), pool, from, t.TempDir(), afar.PushOptions{}); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
