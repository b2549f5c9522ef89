package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afar-go/afar"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	afar.Main()
	goleak.VerifyTestMain(m)
}

// Two files, as in py.execnet's documentation.
func Example() {
	dir, err := os.MkdirTemp("", "fileserver")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{"passwd": "root:x:0:0\n", "group": "root:x:0\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	if err := run(context.Background(), serving(dir), []string{"passwd", "group"}, os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// --- passwd
	// root:x:0:0
	// --- group
	// root:x:0
}

// serving is a target whose worker runs in a directory.
func serving(dir string) string { return "local:1?dir=" + url.QueryEscape(dir) }

// start starts the routine in a worker of its own, which runs in dir.
func start(t *testing.T, dir string) *afar.Channel[string, []byte] {
	t.Helper()
	pool, err := afar.Open(t.Context(), serving(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return startAt(t, pool)
}

func startAt(t *testing.T, pool *afar.Pool) *afar.Channel[string, []byte] {
	t.Helper()
	ch, err := files.Start(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ch.Close() })
	return ch
}

// TestContents fetches files of sizes around those of the pieces and the
// channel's window.
func TestContents(t *testing.T) {
	dir := t.TempDir()
	ch := start(t, dir)
	for i, size := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20, 5<<20 + 7, 0} {
		want := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(want) // it never fails
		name := fmt.Sprintf("%d bytes", size)
		write(t, filepath.Join(dir, name), want)
		var got bytes.Buffer
		if err := fetch(t.Context(), ch, name, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: got %d others", name, got.Len())
		}
	}
	_ = ch.CloseSend()
	if _, err := ch.Recv(t.Context()); err != io.EOF {
		t.Errorf("after the last file: %v, not io.EOF", err)
	}
	if err := ch.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHalfClose asks for everything and says at once that this is all: the
// contents arrive all the same, and then the end.
func TestHalfClose(t *testing.T) {
	dir := t.TempDir()
	ch := start(t, dir)
	for _, name := range []string{"one", "two"} {
		write(t, filepath.Join(dir, name), []byte("contents of "+name))
		if err := ch.Send(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	_ = ch.CloseSend()
	if err := ch.Send(t.Context(), "three"); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("a path after CloseSend: %v", err)
	}
	all, err := io.ReadAll(afar.NewReader(ch)) // which passes over empty pieces
	if got := string(all); err != nil || got != "contents of onecontents of two" {
		t.Errorf("received %q, error %v", got, err)
	}
}

// TestMissing asks for a file that is not there: the error is that of os.Open,
// and ends this conversation, but not the worker.
func TestMissing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "there"), []byte("here it is"))
	pool, err := afar.Open(t.Context(), serving(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()

	ch := startAt(t, pool)
	err = fetch(t.Context(), ch, "gone", io.Discard)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("errors.Is(%v, fs.ErrNotExist) is false", err)
	}
	var path *fs.PathError
	if !errors.As(err, &path) || path.Path != "gone" {
		t.Errorf("%v has no *fs.PathError on gone", err)
	}
	var remote *afar.RemoteError
	if !errors.As(err, &remote) || remote.Worker != pool.Gateways()[0].ID() {
		t.Errorf("%v does not say in which worker", err)
	}
	if err := fetch(t.Context(), ch, "there", io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path after the failure: %v", err)
	}
	if err := ch.Wait(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Wait: %v", err)
	}

	var got strings.Builder
	if err := fetch(t.Context(), startAt(t, pool), "there", &got); err != nil || got.String() != "here it is" {
		t.Errorf("in the next conversation: %q, error %v", got.String(), err)
	}
}

// TestOutside asks for files that exist, but not below the directory.
func TestOutside(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	write(t, outside, []byte("secret"))
	dir := filepath.Join(filepath.Dir(outside), "served")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{outside, "../secret", "../served/../secret", "link"} {
		var got bytes.Buffer
		err := fetch(t.Context(), start(t, dir), path, &got)
		if err == nil || !strings.Contains(err.Error(), "path escapes from parent") || got.Len() > 0 {
			t.Errorf("%s: %q, error %v", path, &got, err)
		}
	}
}

// TestLeaving closes the channel in the middle of a file that is larger than
// what the channel holds, so that the routine waits for its reader: that holds
// nobody up, and the next conversation has the worker to itself.
func TestLeaving(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "large"), make([]byte, 16<<20))
	pool, err := afar.Open(t.Context(), serving(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ch := startAt(t, pool)
	if err := ch.Send(t.Context(), "large"); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.Recv(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = ch.Close()
	if _, err := ch.Recv(t.Context()); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	again := startAt(t, pool)
	var got bytes.Buffer
	if err := fetch(t.Context(), again, "large", &got); err != nil || got.Len() != 16<<20 {
		t.Errorf("in the next conversation: %d bytes, error %v", got.Len(), err)
	}
	_ = again.CloseSend()
	if err := pool.Shutdown(t.Context()); err != nil { // waits for the conversations
		t.Error(err)
	}
}
