package push

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// TestRandomTrees: whatever is there and whatever the source is, after a push
// with Delete it is the same, and a second push finds nothing to do.
func TestRandomTrees(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		base, err := os.MkdirTemp(tempDir(t), "")
		ok(t, err)
		from, to := filepath.Join(base, "from"), filepath.Join(base, "to")
		for i, dir := range []string{from, to} {
			ok(t, os.Mkdir(dir, 0o755))
			plant(t, r, dir, i, 0)
		}
		for range 2 {
			o := Options{Delete: true, Checksum: rapid.Bool().Draw(r, "checksum")}
			must(t, from, to, o)
			equal(t, from, to)
			if out := must(t, from, to, o); len(out.events) > 0 {
				r.Fatalf("again: %v", out.events)
			}
			edit(t, r, from)
		}
	})
}

// plant fills a directory. Trees of different parity share no time: files of one size and time count as equal, as they
// are meant to, whatever is in them.
func plant(t *testing.T, r *rapid.T, dir string, parity, depth int) {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "B", "a.b", "a b", "ä", "new\nline", "-", "\xff", "~", ".dot", "zz"}), 0, 5, rapid.ID[string]).Draw(r, "names")
	for _, name := range names {
		path := filepath.Join(dir, name)
		switch rapid.IntRange(0, 5).Draw(r, "kind") {
		case 0:
			ok(t, os.Symlink(rapid.SampledFrom([]string{"a", "..", "../to/b", "/", "nowhere", "."}).Draw(r, "link"), path))
		case 1, 2:
			ok(t, os.Mkdir(path, 0o700))
			if depth < 4 {
				plant(t, r, path, parity, depth+1)
			}
			ok(t, os.Chmod(path, fs.FileMode(rapid.SampledFrom([]int{0o755, 0o700, 0o500, 0o777}).Draw(r, "mode"))))
		default:
			write(t, content(r), path)
			ok(t, os.Chmod(path, fs.FileMode(rapid.SampledFrom([]int{0o644, 0o400, 0o755, 0o600}).Draw(r, "mode"))))
		}
		if fi, err := os.Lstat(path); err == nil && fi.Mode()&fs.ModeSymlink == 0 {
			when := at(2*rapid.IntRange(0, 5e8).Draw(r, "time") + parity)
			ok(t, os.Chtimes(path, when, when))
		}
	}
}

// content is often that of others, in part.
func content(r *rapid.T) string {
	size := rapid.SampledFrom([]int{0, 1, 600, 5000, 17_000, 70_000, 300_000}).Draw(r, "size")
	whole := noise(uint64(rapid.IntRange(0, 2).Draw(r, "seed")), size+100)
	from := rapid.IntRange(0, 100).Draw(r, "from")
	return whole[from : from+size]
}

// edit changes something in every file and directory, or nothing.
func edit(t *testing.T, r *rapid.T, dir string) {
	n := 0
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir || rapid.IntRange(0, 2).Draw(r, "edit") > 0 {
			return err
		}
		n++
		ok(t, os.Chmod(filepath.Dir(path), 0o700))
		if !d.Type().IsRegular() {
			if d.IsDir() {
				unlockTree(t, path)
			}
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			write(t, fmt.Sprint("file ", n), path)
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		i := rapid.IntRange(0, len(data)).Draw(r, "at")
		insert := rapid.SampledFrom([]string{"", "x", noise(9, 3000)}).Draw(r, "insert")
		keep := rapid.IntRange(i, len(data)).Draw(r, "keep")
		data = append(append(data[:i:i], insert...), data[keep:]...)
		ok(t, os.Chmod(path, 0o600))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
		return os.Chtimes(path, at(n), at(n+1))
	}))
}

// TestMatcher: blocks and bytes make up the file, whatever the sizes are.
func TestMatcher(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		letters := rapid.SampledFrom([]int{2, 256}).Draw(r, "letters")
		text := func(name string) []byte {
			b := []byte(noise(rapid.Uint64Range(0, 3).Draw(r, name), rapid.IntRange(0, 3000).Draw(r, name+" size")))
			for i := range b {
				b[i] = byte(int(b[i]) % letters)
			}
			return b
		}
		old := text("old")
		block := rapid.IntRange(1, 700).Draw(r, "block")
		sig := newSignature(int64(len(old)), block)
		for at := 0; at < len(old); at += block {
			p := old[at:min(at+block, len(old))]
			sum := strongSum(p)
			sig.read([8 + strongLen]byte(append(binary.LittleEndian.AppendUint64(nil, weakSum(p)), sum[:]...)), at+block >= len(old))
		}
		cut := rapid.IntRange(0, len(old)).Draw(r, "cut")
		now := bytes.Join([][]byte{text("front"), old[:cut], text("middle"), old[cut:]}, nil)
		var got []byte
		literal := 0
		m := &matcher{sig: sig, from: bytes.NewReader(now),
			bytes: func(p []byte) error { literal += len(p); got = append(got, p...); return nil },
			same: func(i int) error {
				got = append(got, old[i*block:min((i+1)*block, len(old))]...)
				return nil
			}}
		if err := m.run(); err != nil {
			r.Fatal(err)
		}
		if !bytes.Equal(got, now) {
			r.Fatalf("%d bytes became %d others", len(now), len(got))
		}
		if added := len(now) - len(old); literal > added+2*block && letters == 256 {
			r.Fatalf("%d bytes travel, %d are new, blocks have %d", literal, added, block)
		}
	})
}
