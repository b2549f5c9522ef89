//go:build unix

package push

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSpecial: what cannot be pushed is named, what is there by that name stays, and
// the rest is pushed.
func TestSpecial(t *testing.T) {
	from, to := tempDir(t), tempDir(t)
	ok(t, syscall.Mkfifo(filepath.Join(from, "fifo"), 0o600))
	write(t, "there", to, "fifo")
	ok(t, syscall.Mkfifo(filepath.Join(to, "file"), 0o600))
	ok(t, os.Chtimes(filepath.Join(to, "file"), at(1), at(1)))
	write(t, "file", from, "file")
	write(t, "last", from, "last")
	out := push(t, from, to, Options{Delete: true})
	if out.err != nil || out.problems == nil || !strings.Contains(out.problems.Error(), "fifo: a named pipe cannot be pushed") {
		t.Fatalf("%v; %v", out.err, out.problems)
	}
	if read(t, to, "fifo") != "there" || read(t, to, "file") != "file" || read(t, to, "last") != "last" {
		t.Errorf("%v", snapshot(t, to))
	}
}

// TestUnreadable: what the source does not let read is named, and stays there as
// it is.
func TestUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	from, to := tempDir(t), tempDir(t)
	for _, name := range []string{"dir/file", "file", "last"} {
		write(t, "new", from, name)
		write(t, "old "+name, to, name)
	}
	write(t, "old", to, "dir", "other")
	for _, name := range []string{"dir", "file"} {
		ok(t, os.Chmod(filepath.Join(from, name), 0))
		defer func() { _ = os.Chmod(filepath.Join(from, name), 0o700) }()
	}
	out := push(t, from, to, Options{Delete: true})
	if out.err != nil || !errors.Is(out.problems, fs.ErrPermission) || strings.Count(out.problems.Error(), "permission") != 2 {
		t.Fatalf("%v; %v", out.err, out.problems)
	}
	if read(t, to, "dir", "file") != "old dir/file" || read(t, to, "dir", "other") != "old" || read(t, to, "file") != "old file" || read(t, to, "last") != "new" {
		t.Error(snapshot(t, to))
	}
}
