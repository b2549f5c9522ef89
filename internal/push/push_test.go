package push

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestTree(t *testing.T) {
	from, to := tempDir(t), filepath.Join(tempDir(t), "not", "there", "yet")
	write(t, "one", from, "one")
	write(t, "", from, "empty")
	write(t, noise(1, 300_000), from, "deep", "er", "large")
	write(t, "ünï", from, "Ünïcode", "new\nline", "\xff\xfe not UTF-8")
	ok(t, os.MkdirAll(filepath.Join(from, "no", "files", "here"), 0o700))
	ok(t, os.Symlink("/etc/passwd", filepath.Join(from, "absolute")))
	ok(t, os.Symlink("../../..", filepath.Join(from, "up")))
	ok(t, os.Symlink("one", filepath.Join(from, "link")))
	write(t, "secret", from, "mode", "none")
	ok(t, os.Chmod(filepath.Join(from, "mode", "none"), 0o400))
	ok(t, os.Chmod(filepath.Join(from, "mode"), 0o555))
	ok(t, os.Chtimes(filepath.Join(from, "one"), at(1), at(1)))
	ok(t, os.Chtimes(filepath.Join(from, "no"), at(2), at(2)))
	must(t, from, to, Options{})
	equal(t, from, to)

	out := must(t, from, to, Options{Delete: true})
	if len(out.events) > 0 || out.sent+out.received > 1000 {
		t.Errorf("unchanged: %v, %d bytes sent, %d received", out.events, out.sent, out.received)
	}
	equal(t, from, to)
}

// TestKinds: whatever is in the way of something else gives way, and nothing that
// links lead to is touched.
func TestKinds(t *testing.T) {
	kinds := map[string]func(t *testing.T, path string){
		"nothing": func(*testing.T, string) {},
		"file":    func(t *testing.T, path string) { write(t, "file", path) },
		"empty":   func(t *testing.T, path string) { ok(t, os.Mkdir(path, 0o750)) },
		"dir":     func(t *testing.T, path string) { write(t, "in dir", path, "in", "dir") },
		"link":    func(t *testing.T, path string) { ok(t, os.Symlink("beside", path)) },
		"out":     func(t *testing.T, path string) { ok(t, os.Symlink(filepath.Join("..", "..", "outside"), path)) },
		"dangling": func(t *testing.T, path string) {
			ok(t, os.Symlink("nowhere", path))
		},
	}
	for was, before := range kinds {
		for is, after := range kinds {
			t.Run(was+" "+is, func(t *testing.T) {
				base := tempDir(t)
				from, to, outside := filepath.Join(base, "from"), filepath.Join(base, "x", "to"), filepath.Join(base, "outside")
				write(t, "outside", outside, "in", "dir")
				for _, dir := range []string{from, to} {
					write(t, "beside", dir, "beside", "in", "dir")
				}
				untouched := snapshot(t, outside)
				before(t, filepath.Join(to, "it"))
				after(t, filepath.Join(from, "it"))
				must(t, from, to, Options{Delete: true})
				equal(t, from, to)
				if now := snapshot(t, outside); len(now) != len(untouched) || now["in/dir"] != untouched["in/dir"] {
					t.Errorf("outside: %v, before %v", now, untouched)
				}
			})
		}
	}
}

func TestDelete(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	for _, name := range []string{"b", "d/b", "d/d/b"} {
		write(t, name, from, name)
	}
	for _, name := range []string{"a", "b", "c/c/c", "d/a", "d/c", "d/d/c", "z"} {
		write(t, name, to, name)
	}
	ok(t, os.Chmod(filepath.Join(to, "c", "c"), 0o500))
	must(t, from, to, Options{})
	if n := len(snapshot(t, to)); n != 13 {
		t.Errorf("without Delete there are %d names", n)
	}
	out := must(t, from, to, Options{Delete: true})
	if deleted := out.paths(OpDelete); !slices.Equal(deleted, []string{"a", "c", "d/a", "d/c", "d/d/c", "z"}) {
		t.Errorf("deleted %q", deleted)
	}
	equal(t, from, to)
}

func TestFilter(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	for _, name := range []string{"a.go", "a.o", "sub/b.go", "sub/b.o", "out/c.go"} {
		write(t, name, from, name)
	}
	write(t, "old", to, "a.o")
	var asked []string
	o := Options{Delete: true, Filter: func(path string, d fs.DirEntry) bool {
		asked = append(asked, path)
		return path != "out" && (d.IsDir() || strings.HasSuffix(d.Name(), ".go"))
	}}
	must(t, from, to, o)
	if want := []string{"a.go", "a.o", "out", "sub", "sub/b.go", "sub/b.o"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q", asked)
	}
	var names []string
	for name := range snapshot(t, to) {
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"a.go", "sub", "sub/b.go"}) {
		t.Errorf("there are %q", names)
	}
}

func TestDryRun(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	write(t, noise(1, 100_000), from, "changed")
	write(t, noise(2, 100_000), to, "changed")
	write(t, "new", from, "new", "dir", "file")
	write(t, "extra", to, "extra", "file")
	write(t, "was a file", to, "kind")
	ok(t, os.Mkdir(filepath.Join(from, "kind"), 0o755))
	ok(t, os.Symlink("a", filepath.Join(from, "link")))
	before := snapshot(t, to)
	dry := must(t, from, to, Options{Delete: true, DryRun: true})
	if now := snapshot(t, to); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Fatalf("a dry run has changed %v to %v", before, now)
	}
	real := must(t, from, to, Options{Delete: true})
	for _, op := range []string{OpWrite, OpChange, OpDelete} {
		if a, b := dry.paths(op), real.paths(op); !slices.Equal(a, b) {
			t.Errorf("%s: dry %q, really %q", op, a, b)
		}
	}
	missing := filepath.Join(to, "not", "there")
	must(t, from, missing, Options{DryRun: true})
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a dry run has made the directory")
	}
}

func TestChecksum(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	write(t, "content A", from, "file")
	write(t, "content B", to, "file")
	write(t, "same", from, "touched")
	write(t, "same", to, "touched")
	for _, dir := range []string{from, to} {
		ok(t, os.Chtimes(filepath.Join(dir, "file"), at(1), at(1)))
	}
	ok(t, os.Chtimes(filepath.Join(to, "touched"), at(2), at(2)))
	must(t, from, to, Options{DryRun: true})
	out := must(t, from, to, Options{Checksum: true})
	if w, c := out.paths(OpWrite), out.paths(OpChange); !slices.Equal(w, []string{"file"}) || !slices.Equal(c, []string{"touched"}) {
		t.Errorf("written %q, changed %q", w, c)
	}
	equal(t, from, to)
}

// TestMode: a mode or a time alone makes no content travel.
func TestMode(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	write(t, noise(1, 200_000), from, "dir", "file")
	must(t, from, to, Options{})
	ok(t, os.Chmod(filepath.Join(from, "dir", "file"), 0o600))
	ok(t, os.Chmod(filepath.Join(from, "dir"), 0o701))
	ok(t, os.Chtimes(filepath.Join(from, "dir"), at(3), at(3)))
	out := must(t, from, to, Options{})
	if out.sent > 200 || len(out.paths(OpWrite)) > 0 {
		t.Errorf("%d bytes sent, %v", out.sent, out.events)
	}
	equal(t, from, to)
}

// TestRootMode: a directory that is made gets the source's mode, one that was
// there keeps its own.
func TestRootMode(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	ok(t, os.Chmod(from, 0o710))
	ok(t, os.Chmod(to, 0o701))
	ok(t, os.Chtimes(from, at(4), at(4)))
	made := filepath.Join(tempDir(t), "made")
	for path, perm := range map[string]fs.FileMode{to: 0o701, made: 0o710} {
		must(t, from, path, Options{})
		fi, err := os.Stat(path)
		ok(t, err)
		if fi.Mode().Perm() != perm || !fi.ModTime().Equal(at(4)) {
			t.Errorf("%s: %v %v", path, fi.Mode(), fi.ModTime())
		}
	}
}

// TestTravel: what travels of large files.
func TestTravel(t *testing.T) {
	const size = 24 << 20
	data := noise(1, size+77)
	cases := map[string]struct {
		old, new string
		sent     int64
	}{
		"one byte":  {data, data[:size/3] + "!" + data[size/3+1:], 140 << 10},
		"inserted":  {data, "at the front" + data, 140 << 10},
		"cut":       {data, data[12345:], 140 << 10},
		"appended":  {data, data + "at the end", 140 << 10},
		"truncated": {data, data[:size/2], 140 << 10},
		"touched":   {data, data, 1 << 10},
		"swapped":   {data, data[size/2:] + data[:size/2], 300 << 10},
		"zeros":     {data, strings.Repeat("\x00", size), 4 << 10},
		"other":     {data, noise(2, size), size + 4<<10},
		"small":     {"old", noise(3, 100), 400},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			from, to := tempDir(t), tempDir(t)
			write(t, c.new, from, "file")
			write(t, c.old, to, "file")
			ok(t, os.Chtimes(filepath.Join(to, "file"), at(1), at(1)))
			out := must(t, from, to, Options{})
			equal(t, from, to)
			if out.sent > c.sent || out.received > 8<<10 {
				t.Errorf("%d bytes sent, %d received", out.sent, out.received)
			}
		})
	}
}

// TestHundred: one byte of 100 MiB is a block, and no side holds a file.
func TestHundred(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	path := filepath.Join(from, "file")
	write(t, noise(1, 100<<20), path)
	memory := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if used := memory(func() { must(t, from, to, Options{}) }); used > 8<<20 {
		t.Errorf("%d bytes allocated for a new file", used)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	ok(t, err)
	_, err = f.WriteAt([]byte{'!'}, 50<<20)
	ok(t, errors.Join(err, f.Close(), os.Chtimes(path, at(1), at(1))))
	var out outcome
	if used := memory(func() { out = must(t, from, to, Options{}) }); used > 8<<20 {
		t.Errorf("%d bytes allocated for a changed one", used)
	}
	if out.sent > 130<<10 || out.received > 20<<10 {
		t.Errorf("%d bytes sent, %d received", out.sent, out.received)
	}
	a, err := os.ReadFile(path)
	ok(t, err)
	b, err := os.ReadFile(filepath.Join(to, "file"))
	ok(t, err)
	if !bytes.Equal(a, b) {
		t.Error("the files differ")
	}
}

// TestOnce: what was sent with one file is not sent with another.
func TestOnce(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	data := noise(1, 1<<20)
	for i := range 5 {
		write(t, data, from, "dir", fmt.Sprint(i), "file")
	}
	write(t, data[:512<<10]+noise(2, 1000), from, "half")
	out := must(t, from, to, Options{})
	equal(t, from, to)
	if out.sent > 1<<20+4<<10 {
		t.Errorf("%d bytes sent", out.sent)
	}
}

// TestMany: a manifest of many batches and turns, and of directories in which
// files are awaited.
func TestMany(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	for i := range 130 {
		for j := range 10 {
			write(t, fmt.Sprint(i, j), from, fmt.Sprint("dir", i), strings.Repeat("long", 60), fmt.Sprint(j))
		}
	}
	for i := range 40 { // of which the signatures take several turns
		write(t, noise(uint64(i), 20_000), from, "large", fmt.Sprint(i))
		write(t, noise(uint64(i), 30_000), to, "large", fmt.Sprint(i))
	}
	must(t, from, to, Options{})
	equal(t, from, to)
	if out := must(t, from, to, Options{Checksum: true}); len(out.events) > 0 {
		t.Errorf("%d events", len(out.events))
	}
}

func TestDeep(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	root, err := os.OpenRoot(from)
	ok(t, err)
	for range maxDepth + 1 {
		ok(t, root.Mkdir("d", 0o755))
		next, err := root.OpenRoot("d")
		ok(t, errors.Join(err, root.Close()))
		root = next
	}
	ok(t, root.Close())
	out := push(t, from, to, Options{})
	if out.err != nil || out.problems == nil || !strings.Contains(out.problems.Error(), "500 directories") {
		t.Fatalf("%v; %v", out.err, out.problems)
	}
}

// TestItself: a source and a place that are in each other.
func TestItself(t *testing.T) {
	from := tempDir(t)
	write(t, "file", from, "sub", "file")
	if out := push(t, from, from, Options{}); out.err == nil || !strings.Contains(out.err.Error(), "directory that is pushed") {
		t.Errorf("onto itself: %v", out.err)
	}
	if out := push(t, filepath.Join(from, "sub"), from, Options{Delete: true}); out.err == nil || read(t, from, "sub", "file") != "file" {
		t.Errorf("up, with Delete: %v", out.err)
	}
	must(t, filepath.Join(from, "sub"), from, Options{})
	must(t, from, filepath.Join(from, "sub", "new", "er"), Options{}) // listed before it was made
	out := push(t, from, filepath.Join(from, "sub", "new", "er"), Options{})
	if out.err != nil || !errors.Is(out.problems, errTarget) {
		t.Errorf("down: %v; %v", out.err, out.problems)
	}
	if _, err := os.Stat(filepath.Join(from, "sub", "new", "er", "sub", "new", "er", "sub")); err == nil {
		t.Error("the place was pushed into itself")
	}
}

func TestPlace(t *testing.T) {
	dir := tempDir(t)
	ok(t, os.Mkdir(filepath.Join(dir, "a"), 0o755))
	ok(t, os.Symlink("a", filepath.Join(dir, "b")))
	t.Chdir(dir)
	place := func(path string) string {
		t.Helper()
		p, err := locate(path)
		ok(t, err)
		return p.Key
	}
	for _, same := range [][2]string{{"a", "b"}, {"a/x/y", "b/x/y"}, {"a", filepath.Join(dir, "a", ".")}, {"a/../b", "a"}} {
		if place(same[0]) != place(same[1]) {
			t.Errorf("%q are two places", same)
		}
	}
	for _, other := range [][2]string{{"a", "."}, {"a/x", "a/y"}, {"a", "a/a"}, {"x", "a/x"}} {
		if place(other[0]) == place(other[1]) {
			t.Errorf("%q are one place", other)
		}
	}
	if _, err := locate(""); err == nil {
		t.Error("no name is a place")
	}
}

// TestShared: hosts that share a file system, and do not know it, push into one
// directory at the same time.
func TestShared(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	for i := range 200 {
		write(t, noise(uint64(i), 20_000), from, fmt.Sprint("dir", i%20), fmt.Sprint(i))
		write(t, "other", to, fmt.Sprint("dir", i%20), fmt.Sprint("other", i))
	}
	src, err := OpenSource(from, Options{Delete: true})
	ok(t, err)
	defer func() { _ = src.Close() }()
	errs := make(chan error)
	for range 4 {
		go func() {
			near, done := far(t.Context())
			s, err := Begin(near, to, src.Options, 0)
			if err == nil {
				s.ID = ID{1}
				err = s.Send(t.Context(), src)
			}
			near.close(err)
			errs <- errors.Join(err, <-done)
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	equal(t, from, to)
}
