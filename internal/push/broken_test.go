package push

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hook calls a function when so much was written.
type hook struct {
	io.ReadWriter
	left int
	f    func() error
}

func (h *hook) Write(p []byte) (int, error) {
	if h.left -= len(p); h.left <= 0 && h.f != nil {
		if err := h.f(); err != nil {
			return 0, err
		}
	}
	return h.ReadWriter.Write(p)
}

// after wraps a link.
func after(n int, f func() error) func(io.ReadWriter) io.ReadWriter {
	return func(link io.ReadWriter) io.ReadWriter { return &hook{link, n, f} }
}

// TestChanging: a file that changes while it is read is read again; one that does
// always, or vanishes, is named and stays as it was.
func TestChanging(t *testing.T) {
	setup := func(t *testing.T) (from, to, path string) {
		from, to = tempDir(t), tempDir(t)
		write(t, noise(1, 2<<20), from, "file")
		write(t, "old", to, "file")
		write(t, "last", from, "last")
		return from, to, filepath.Join(from, "file")
	}
	n := 0
	touch := func(path string, times int) func() error {
		left := times
		return func() error {
			if n++; left == 0 {
				return nil
			}
			left--
			return os.Chtimes(path, at(n), at(n))
		}
	}
	t.Run("once", func(t *testing.T) {
		from, to, path := setup(t)
		out := push(t, from, to, Options{}, after(1<<20, touch(path, 1)))
		if out.err != nil || out.problems != nil {
			t.Fatalf("%v; %v", out.err, out.problems)
		}
		equal(t, from, to)
	})
	t.Run("always", func(t *testing.T) {
		from, to, path := setup(t)
		out := push(t, from, to, Options{}, after(1<<20, touch(path, -1)))
		if out.err != nil || !errors.Is(out.problems, errChanged) || !strings.HasPrefix(out.problems.Error(), "file: ") {
			t.Fatalf("%v; %v", out.err, out.problems)
		}
		if read(t, to, "file") != "old" || read(t, to, "last") != "last" {
			t.Error(snapshot(t, to))
		}
		noTemps(t, to)
	})
	t.Run("vanishes", func(t *testing.T) {
		from, to, path := setup(t)
		out := push(t, from, to, Options{}, after(len(to)+20, func() error {
			_ = os.Remove(path)
			return nil
		}))
		if out.err != nil || !errors.Is(out.problems, fs.ErrNotExist) {
			t.Fatalf("%v; %v", out.err, out.problems)
		}
		if read(t, to, "file") != "old" || read(t, to, "last") != "last" {
			t.Error(snapshot(t, to))
		}
	})
}

// TestDamaged: a file whose blocks there change meanwhile is asked for again.
func TestDamaged(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	data := noise(1, 1<<20)
	write(t, data+"new", from, "file")
	write(t, data, to, "file")
	n := 0
	out := push(t, from, to, Options{}, after(0, func() error {
		if n++; n == 3 { // options, manifest, answer
			f, err := os.OpenFile(filepath.Join(to, "file"), os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("other"), 5000)
				err = errors.Join(err, f.Close())
			}
			return err
		}
		return nil
	}))
	if out.err != nil || out.problems != nil || out.sent < 1<<20 {
		t.Fatalf("%v; %v; %d sent", out.err, out.problems, out.sent)
	}
	equal(t, from, to)
}

// TestCut: wherever the link ends, a file is the old or the new one, and the next
// push leaves nothing of it.
func TestCut(t *testing.T) {
	from, to := tempDir(t), ""
	write(t, noise(1, 300_000), from, "a", "new")
	write(t, noise(2, 200_000), from, "b")
	full := must(t, from, tempDir(t), Options{})
	cut := errors.New("cut")
	for i := range int64(8) {
		to = tempDir(t)
		write(t, noise(3, 100_000), to, "b")
		out := push(t, from, to, Options{}, after(int(full.sent*i/8), func() error { return cut }))
		if !errors.Is(out.err, cut) {
			t.Fatalf("%d: %v", i, out.err)
		}
		for path, size := range map[string]int64{"a/new": 300_000, "b": 200_000} {
			fi, err := os.Stat(filepath.Join(to, path))
			if err == nil && fi.Size() != size && fi.Size() != 100_000 {
				t.Errorf("%d: %s has %d bytes", i, path, fi.Size())
			}
		}
		noTemps(t, to)
	}
	write(t, "half", to, "a", ID{2}.tempName()) // as a worker leaves it that was killed
	write(t, "ours", to, tempPrefix+"of the user")
	must(t, from, to, Options{})
	noTemps(t, to)
	if read(t, to, tempPrefix+"of the user") != "ours" {
		t.Error("a file is gone that only begins like a temporary one")
	}
}

func TestCanceled(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	write(t, noise(1, 4<<20), from, "file")
	src, err := OpenSource(from, Options{})
	ok(t, err)
	defer func() { _ = src.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	near, done := far(t.Context())
	s, err := Begin(&hook{near, 1 << 20, func() error { cancel(); return nil }}, to, Options{}, 0)
	ok(t, err)
	if err := s.Send(ctx, src); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	near.close(io.EOF)
	if err := <-done; err == nil {
		t.Error("the far side knows nothing")
	}
	noTemps(t, to)
}
