package ship

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func openStore(t *testing.T) *Store {
	t.Helper()
	store, err := OpenStore(filepath.Join(t.TempDir(), "a", "images"))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// empty checks that nothing is in the store.
func (s *Store) empty(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(string(s.dir))
	if err != nil || len(entries) > 0 {
		t.Error("left behind:", entries, err)
	}
}

// What was put in is there, private and executable, whichever way it came.
func TestStore(t *testing.T) {
	store := openStore(t)
	for name, packed := range map[string]bool{"raw": false, "gzip": true} {
		data := []byte("image " + name)
		hash, sent := hashOf(data), data
		if packed {
			sent = gzipped(t, data)
		}
		if _, ok := store.Path(hash); ok {
			t.Error(name, "is there before it was put in")
		}
		if err := store.Put(t.Context(), hash, bytes.NewReader(sent), int64(len(data))); err != nil {
			t.Fatal(name, err)
		}
		path, ok := store.Path(hash)
		got, err := os.ReadFile(path)
		if !ok || err != nil || !bytes.Equal(got, data) || !filepath.IsAbs(path) {
			t.Errorf("%s: %q %v %q %v", name, path, ok, got, err)
		}
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o500 {
			t.Error(info, err)
		}
		// The second time it is not even read.
		if err := store.Put(t.Context(), hash, nil, 0); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(string(store.dir)); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Error(info, err)
	}
}

// What is not the image is refused, and nothing stays of it.
func TestStoreRefuses(t *testing.T) {
	data := bytes.Repeat([]byte("image"), 1000)
	packed := gzipped(t, data)
	damaged := bytes.Clone(packed)
	damaged[len(damaged)-5] ^= 1
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for name, test := range map[string]struct {
		ctx   context.Context
		hash  string
		r     io.Reader
		max   int64
		stage Stage
	}{
		"another":        {hash: hashOf(nil), r: bytes.NewReader(data), stage: StageHash},
		"truncated":      {r: bytes.NewReader(data[:100]), stage: StageHash},
		"truncated gzip": {r: bytes.NewReader(packed[:len(packed)-1]), stage: StageUpload},
		"damaged gzip":   {r: bytes.NewReader(damaged), stage: StageUpload},
		"bad header":     {r: strings.NewReader("\x1f\x8bxxxxxxxxxxxxxxxxx"), stage: StageUpload},
		"too large":      {r: bytes.NewReader(data), max: 4999, stage: StageUpload},
		"bomb":           {r: bytes.NewReader(packed), max: 4999, stage: StageUpload},
		"empty":          {r: strings.NewReader(""), stage: StageHash},
		"broken link":    {r: io.MultiReader(bytes.NewReader(data), brokenReader{}), stage: StageUpload},
		"canceled":       {ctx: ended, r: bytes.NewReader(data), stage: StageUpload},
		"no hash":        {hash: "../../etc/passwd", r: bytes.NewReader(data), stage: StageHash},
		"capitals":       {hash: strings.ToUpper(hashOf(data)), r: bytes.NewReader(data), stage: StageHash},
	} {
		t.Run(name, func(t *testing.T) {
			store := openStore(t)
			if test.hash == "" {
				test.hash = hashOf(data)
			}
			if test.max == 0 {
				test.max = 1 << 20
			}
			if test.ctx == nil {
				test.ctx = t.Context()
			}
			err := store.Put(test.ctx, test.hash, test.r, test.max)
			if e, ok := errors.AsType[*Error](err); !ok || e.Stage != test.stage {
				t.Errorf("error %v, want stage %q", err, test.stage)
			}
			if _, ok := store.Path(test.hash); ok {
				t.Error("it is there")
			}
			store.empty(t)
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Put takes no more from a link than the image, if that is compressed, and a bufio.Reader's worth.
func TestStoreLeavesTheRest(t *testing.T) {
	data := []byte("image")
	r := io.MultiReader(bytes.NewReader(gzipped(t, data)), strings.NewReader("and what follows"))
	if err := openStore(t).Put(t.Context(), hashOf(data), r, 5); err != nil {
		t.Error(err)
	}
}

// Of many Puts of one image at a time one reads; when it fails another one does.
func TestStoreConcurrent(t *testing.T) {
	store := openStore(t)
	data := bytes.Repeat([]byte("x"), 1<<20)
	hash := hashOf(data)
	var read atomic.Int32
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			r := &countingReader{Reader: bytes.NewReader(data), begun: &read}
			if i == 0 {
				r.Reader = strings.NewReader("something else")
			}
			if err := store.Put(t.Context(), hash, r, 1<<20); err != nil && i > 0 {
				t.Error(err)
			}
			if path, ok := store.Path(hash); i > 0 && (!ok || path == "") {
				t.Error("it is not there")
			}
		})
	}
	group.Wait()
	if n := read.Load(); n > 2 {
		t.Errorf("%d were read", n)
	}
	// Two stores in one directory, as of two processes, do not disturb each other.
	other, err := OpenStore(string(store.dir))
	if err != nil {
		t.Fatal(err)
	}
	next := bytes.Repeat([]byte("y"), 1<<20)
	for _, s := range []*Store{store, other, store, other} {
		group.Go(func() {
			if err := s.Put(t.Context(), hashOf(next), bytes.NewReader(next), 1<<20); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if entries, err := os.ReadDir(string(store.dir)); err != nil || len(entries) != 2 {
		t.Error(entries, err)
	}
}

type countingReader struct {
	io.Reader
	begun *atomic.Int32
	once  sync.Once
}

func (c *countingReader) Read(p []byte) (int, error) {
	c.once.Do(func() { c.begun.Add(1) })
	return c.Reader.Read(p)
}

// A Put that waits for another one gives up when its context ends.
func TestStoreWaits(t *testing.T) {
	store := openStore(t)
	data := []byte("image")
	r, w := io.Pipe()
	first := make(chan error, 1)
	go func() { first <- store.Put(t.Context(), hashOf(data), r, 100) }()
	if _, err := w.Write(data[:1]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() { second <- store.Put(ctx, hashOf(data), bytes.NewReader(data), 100) }()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_, _ = w.Write(data[1:])
	_ = w.Close()
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// Tidy removes what was not used for the longest time, and nothing that is young.
func TestTidy(t *testing.T) {
	store := openStore(t)
	ago := func(name string, d time.Duration) {
		at := time.Now().Add(-d)
		if err := os.Chtimes(filepath.Join(string(store.dir), name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	var hashes []string
	for i := range 5 {
		data := []byte(fmt.Sprintf("image %d", i)) // 7 bytes
		if err := store.Put(t.Context(), hashOf(data), bytes.NewReader(data), 100); err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, hashOf(data))
		ago(hashOf(data), time.Duration(10-i)*time.Hour)
	}
	old, fresh := hashes[0]+".lock.x", hashes[0]+".lock"
	for _, name := range []string{old, fresh} {
		if err := os.MkdirAll(filepath.Join(string(store.dir), name, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"probe", "probe.x", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(string(store.dir), name), []byte("some text"), 0o600); err != nil {
			t.Fatal(err)
		}
		ago(name, 24*time.Hour)
	}
	ago(old, 2*time.Hour)
	if _, ok := store.Path(hashes[0]); !ok { // It is the youngest now.
		t.Fatal("it is not there")
	}
	check := func(limit int64, want ...string) {
		t.Helper()
		if err := store.Tidy(limit); err != nil {
			t.Fatal(err)
		}
		entries, _ := os.ReadDir(string(store.dir))
		got := map[string]bool{}
		for _, entry := range entries {
			got[entry.Name()] = true
		}
		for _, name := range append(want, fresh, "probe", "notes.txt") {
			if !got[name] {
				t.Errorf("limit %d: %s is gone", limit, name)
			}
		}
		if len(got) != len(want)+3 {
			t.Errorf("limit %d: there are %v", limit, got)
		}
	}
	check(35, hashes...)
	check(34, hashes[0], hashes[2], hashes[3], hashes[4])
	check(14, hashes[0], hashes[4])
	check(0, hashes[0])
}
