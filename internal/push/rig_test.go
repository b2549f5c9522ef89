package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// duplex is one end of a link.
type duplex struct {
	io.Reader
	io.Writer
	close func(error)
}

func (d duplex) Close() error { d.close(io.ErrClosedPipe); return nil }

// pair is a link without any room: who writes waits for the other to read.
func pair() (near, far duplex) {
	toFar, fromNear := io.Pipe()
	toNear, fromFar := io.Pipe()
	end := func(err error) {
		_ = fromNear.CloseWithError(err)
		_ = fromFar.CloseWithError(err)
		_ = toFar.CloseWithError(err)
		_ = toNear.CloseWithError(err)
	}
	return duplex{toNear, fromNear, end}, duplex{toFar, fromFar, end}
}

// far runs Receive and returns the link to it.
func far(ctx context.Context) (near duplex, done chan error) {
	near, link := pair()
	done = make(chan error, 1)
	go func() {
		err := Receive(ctx, link)
		done <- err
		if err == nil {
			err = io.EOF
		}
		link.close(err)
	}()
	return near, done
}

// outcome is how a push went.
type outcome struct {
	sent, received int64
	events         []Event
	err            error // of either side
	problems       error // of the source
}

func (o outcome) paths(op string) (paths []string) {
	for _, e := range o.events {
		if e.Op == op {
			paths = append(paths, e.Path)
		}
	}
	return paths
}

// push pushes a directory by way of a link that wrap may change.
func push(t testing.TB, from, to string, o Options, wrap ...func(io.ReadWriter) io.ReadWriter) (out outcome) {
	t.Helper()
	src, err := OpenSource(from, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = src.Close() }()
	near, done := far(t.Context())
	var link io.ReadWriter = near
	for _, w := range wrap {
		link = w(link)
	}
	s, err := Begin(link, to, o, 0)
	if err == nil {
		s.ID = ID{1}
		s.Report = func(e Event) { out.events = append(out.events, e) }
		err = s.Send(t.Context(), src)
	}
	near.close(err)
	out.err = errors.Join(err, <-done)
	out.problems = src.Err()
	out.sent, out.received = s.Traffic()
	return out
}

// must pushes, and nothing is wrong.
func must(t testing.TB, from, to string, o Options) outcome {
	t.Helper()
	out := push(t, from, to, o)
	if out.err != nil || out.problems != nil {
		t.Fatalf("push: %v; source: %v", out.err, out.problems)
	}
	return out
}

// snapshot says what is in a directory: kind, mode, time and content by path.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%v %d", fi.Mode(), fi.ModTime().UnixNano())
		switch {
		case fi.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %q", len(data), data[:min(len(data), 40)])
			text += fmt.Sprintf(" %x", strongSum(data))
		case fi.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text = "link " + link
		}
		name, _ := filepath.Rel(dir, path)
		all[name] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// equal compares two directories.
func equal(t testing.TB, from, to string) {
	t.Helper()
	a, b := snapshot(t, from), snapshot(t, to)
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if a[name] != b[name] {
			t.Errorf("%q: %q there, %q pushed", name, b[name], a[name])
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// at is a time that file systems keep and that is not now.
func at(n int) time.Time { return time.Unix(1_600_000_000+int64(n), 123_456_789) }

// write writes a file, with its directories.
func write(t testing.TB, data string, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

// read reads a file; "" when there is none.
func read(t testing.TB, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noise is n bytes that do not repeat.
func noise(seed uint64, n int) string {
	var b strings.Builder
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	r := rand.NewChaCha8(key)
	_, _ = io.CopyN(&b, r, int64(n))
	return b.String()
}

// noTemps fails when a temporary file is left.
func noTemps(t testing.TB, dir string) {
	t.Helper()
	for name := range snapshot(t, dir) {
		if isTemp(filepath.Base(name)) {
			t.Errorf("%s is left", name)
		}
	}
}

// tempDir is t.TempDir, also when what a test leaves there cannot be written to.
func tempDir(t testing.TB) string {
	dir := t.TempDir()
	t.Cleanup(func() { unlockTree(t, dir) })
	return dir
}

func unlockTree(t testing.TB, dir string) {
	t.Helper()
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return err
	}))
}
