package ship

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// damages are what can become of the file of an image.
var damages = map[string]func(path string) error{
	"flipped": func(path string) error { return flip(path, time.Now().Add(time.Minute)) },
	"flipped, with its old time": func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return flip(path, info.ModTime())
	},
	"truncated":      func(path string) error { return rewrite(path, func() error { return os.Truncate(path, 3) }) },
	"empty":          func(path string) error { return rewrite(path, func() error { return os.Truncate(path, 0) }) },
	"not executable": func(path string) error { return os.Chmod(path, 0o600) },
	"not readable":   func(path string) error { return os.Chmod(path, 0o100) },
	"replaced": func(path string) error {
		other := filepath.Join(filepath.Dir(path), "other")
		if err := os.WriteFile(other, []byte("image"), 0o500); err != nil {
			return err
		}
		return os.Rename(other, path)
	},
	"a directory": func(path string) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.MkdirAll(filepath.Join(path, "with", "directories"), 0o700)
	},
	"a link": func(path string) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.Symlink("/bin/true", path)
	},
	"a link to nothing": func(path string) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.Symlink(filepath.Join(path, "nowhere"), path)
	},
}

// rewrite changes a file that may only be read.
func rewrite(path string, change func() error) error {
	if err := os.Chmod(path, 0o700); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return os.Chmod(path, 0o500)
}

// flip changes a byte of a file, and gives it a time.
func flip(path string, at time.Time) error {
	return rewrite(path, func() error {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(path, data, 0o700); err != nil {
			return err
		}
		return os.Chtimes(path, at, at)
	})
}

// What is not the image, or cannot be executed, is not there, whether it was before or not; then it can be brought again.
func TestStoreDamaged(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("links and modes are not those of all systems, nor is the time of the last change")
	}
	data := bytes.Repeat([]byte("image"), 1000)
	hash := hashOf(data)
	for name, damage := range damages {
		for when, used := range map[string]bool{"before its first use": false, "after it was used": true} {
			t.Run(name+" "+when, func(t *testing.T) {
				store := openStore(t)
				put := func() {
					t.Helper()
					if err := store.Put(t.Context(), hash, bytes.NewReader(data), 1<<20); err != nil {
						t.Fatal(err)
					}
				}
				put()
				if used {
					if _, ok := store.Path(hash); !ok {
						t.Fatal("it is not there")
					}
				}
				store.Know(hash, "some identity")
				if err := damage(store.path(hash)); err != nil {
					t.Fatal(err)
				}
				if path, ok := store.Path(hash); ok {
					t.Fatalf("%s is said to be the image", path)
				}
				store.empty(t)
				put()
				path, ok := store.Path(hash)
				got, err := os.ReadFile(path)
				if !ok || err != nil || !bytes.Equal(got, data) {
					t.Errorf("brought again it is not there: %v, %v", ok, err)
				}
			})
		}
	}
}

// Even what another process has put in the place of an image, and cannot be read away, is replaced by Put.
func TestStoreReplaces(t *testing.T) {
	store := openStore(t)
	data := []byte("image")
	if err := os.MkdirAll(filepath.Join(store.path(hashOf(data)), "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	part, err := store.dir.part()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := commit(part, store.path(hashOf(data))); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(store.path(hashOf(data))); err != nil || !bytes.Equal(got, data) {
		t.Error(string(got), err)
	}
}

// A file that nobody has changed is read once; its use is noted, but not so often that it would be read all the time.
func TestStoreChecksOnce(t *testing.T) {
	store := openStore(t)
	data := []byte("image")
	hash := hashOf(data)
	if err := store.Put(t.Context(), hash, bytes.NewReader(data), 100); err != nil {
		t.Fatal(err)
	}
	use := func() os.FileInfo {
		t.Helper()
		if _, ok := store.Path(hash); !ok {
			t.Fatal("it is not there")
		}
		return store.checked[hash]
	}
	first := use()
	for range 2 {
		if use() != first {
			t.Error("it was read again")
		}
	}
	old := time.Now().Add(-2 * precision)
	if err := os.Chtimes(store.path(hash), old, old); err != nil {
		t.Fatal(err)
	}
	if second := use(); second == first {
		t.Error("its times were changed, and it was not read again")
	} else if use() != second {
		t.Error("it was read again")
	}
	if info, err := os.Stat(store.path(hash)); err != nil || runtime.GOOS == "linux" && time.Since(usedAt(info)) > precision {
		t.Error("its use was not noted")
	}
}
