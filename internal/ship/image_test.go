//go:build unix

package ship

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// An image gives the file's bytes, as they are and compressed, even when the file is gone.
func TestImage(t *testing.T) {
	data, err := os.ReadFile(testProgram)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, data, 0o700); err != nil {
		t.Fatal(err)
	}
	image, err := File(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if image.Hash() != hashOf(data) || image.Size() != int64(len(data)) || image.System() != runtime.GOOS+"/"+runtime.GOARCH {
		t.Error(image)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			r, err := image.Open()
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
				t.Error("other bytes", err)
			}
			_ = r.Close()
			checkGzip(t, image, data)
		})
	}
	group.Wait()
	// Another process finds what was compressed; one without a cache does without.
	again := &Image{hash: image.hash, size: image.size}
	checkGzip(t, again, data)
	t.Setenv("XDG_CACHE_HOME", "/dev/null/x")
	checkGzip(t, &Image{hash: image.hash, size: image.size, file: image.file}, data)
}

func checkGzip(t *testing.T, image *Image, data []byte) {
	t.Helper()
	size, err := image.CompressedSize()
	if err != nil {
		t.Error(err)
		return
	}
	r, err := image.Compressed()
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Close()
	var packed bytes.Buffer
	if n, err := packed.ReadFrom(r); err != nil || n != size {
		t.Errorf("%d bytes, not %d: %v", n, size, err)
	}
	z, err := gzip.NewReader(&packed)
	if err != nil {
		t.Error(err)
		return
	}
	if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, data) {
		t.Error("other bytes", err)
	}
}

// Whatever becomes of what the cache keeps of a compressed image, what is sent is the image, and the cache is mended.
func TestCompressedDamaged(t *testing.T) {
	image := program(t, 1<<20)
	data, err := os.ReadFile(image.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(string(userCache(gzipCache)), image.Hash()+".gz")
	// another is the image in a process that has compressed nothing.
	another := func() *Image { return &Image{file: image.file, size: image.size, hash: image.hash} }
	for name, damage := range map[string]func() error{
		"overwritten": func() error { return overwrite(path, 100_000, 10_000) },
		"a bit":       func() error { return overwrite(path, 300_000, 1) },
		"truncated":   func() error { return os.Truncate(path, 1000) },
		"empty":       func() error { return os.Truncate(path, 0) },
		"another":     func() error { return os.WriteFile(path, []byte("\x1f\x8b"), 0o600) },
		"gone":        func() error { return os.Remove(path) },
		"sum":         func() error { return os.WriteFile(path+sumSuffix, []byte("nonsense"), 0o600) },
		"other sum":   func() error { return overwrite(path+sumSuffix, 0, 10) },
		"no sum":      func() error { return os.Remove(path + sumSuffix) },
	} {
		t.Run(name, func(t *testing.T) {
			checkGzip(t, another(), data)
			used := another()
			if _, err := used.CompressedSize(); err != nil { // as of one that is about to be sent
				t.Fatal(err)
			}
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			checkGzip(t, another(), data)
			checkGzip(t, used, data)
			found, err := another().packed(userCache(gzipCache))
			if err != nil || !found.intact() {
				t.Errorf("the cache is not mended: %v", err)
			}
		})
	}
}

// An image whose file has become another one is not sent, nor kept by its name.
func TestCompressedOther(t *testing.T) {
	image := program(t, 0)
	if err := overwrite(image.file.Name(), 5000, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := image.Compressed(); err == nil || !strings.Contains(err.Error(), "its file was changed") {
		t.Error(err)
	}
	if _, err := image.packed(userCache(gzipCache)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// overwrite changes some bytes of a file.
func overwrite(path string, at int64, n int) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	data := make([]byte, n)
	if _, err := file.ReadAt(data, at); err != nil {
		return err
	}
	for i := range data {
		data[i] ^= 0x55
	}
	_, err = file.WriteAt(data, at)
	return err
}

// elf makes the header of an ELF file.
func elf(machine elfMachine, osabi byte, segments ...uint32) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	data := make([]byte, 64)
	copy(data, "\x7fELF\x01\x01\x01")
	if machine.big {
		order, data[5] = binary.BigEndian, 2
	}
	data[7] = osabi
	order.PutUint16(data[18:], machine.machine)
	if machine.bits64 {
		data[4] = 2
		order.PutUint64(data[32:], 64)
		order.PutUint16(data[54:], 56)
		order.PutUint16(data[56:], uint16(len(segments)))
	} else {
		order.PutUint32(data[28:], 64)
		order.PutUint16(data[42:], 56)
		order.PutUint16(data[44:], uint16(len(segments)))
	}
	for _, kind := range segments {
		segment := make([]byte, 56)
		order.PutUint32(segment, kind)
		data = append(data, segment...)
	}
	return data
}

// The system is read from the header.
func TestHeader(t *testing.T) {
	pe := append(make([]byte, 64), "PE\x00\x00\x64\x86"...)
	copy(pe, "MZ")
	pe[60] = 64
	mach := append([]byte("\xcf\xfa\xed\xfe\x0c\x00\x00\x01"), make([]byte, 64)...)
	intel, power := elfMachine{62, true, false}, elfMachine{21, true, true}
	for name, test := range map[string]struct {
		data     []byte
		system   string // asked for
		want     string // "" is refused
		portable bool
	}{
		"linux":       {elf(intel, 0, 1, 4), "", "linux/amd64", true},
		"dynamic":     {elf(intel, 0, 1, 3), "", "linux/amd64", false},
		"386":         {elf(elfMachine{3, false, false}, 0, 1), "", "linux/386", true},
		"dynamic 386": {elf(elfMachine{3, false, false}, 0, 1, 3), "linux/386", "linux/386", false},
		"big":         {elf(power, 0, 3), "", "linux/ppc64", false},
		"freebsd":     {elf(intel, 9, 1), "", "freebsd/amd64", true},
		"openbsd":     {elf(intel, 12, 3), "", "openbsd/amd64", true},
		"dragonfly":   {elf(intel, 0, 1), "dragonfly/amd64", "dragonfly/amd64", true},
		"other arch":  {elf(intel, 0, 1), "linux/arm64", "", false},
		"other os":    {elf(intel, 9, 1), "linux/amd64", "", false},
		"not marked":  {elf(intel, 0, 1), "freebsd/amd64", "", false},
		"bad system":  {elf(intel, 0, 1), "linux", "", false},
		"darwin":      {mach, "", "darwin/arm64", true},
		"windows":     {pe, "", "windows/amd64", true},
		"cut off":     {elf(intel, 0, 1, 4)[:120], "", "", false},
		"short":       {elf(intel, 0)[:63], "", "", false},
		"script":      {[]byte("#!/bin/sh\n" + strings.Repeat("#", 100)), "", "", false},
		"vax":         {elf(elfMachine{75, false, false}, 0), "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(path, test.data, 0o600); err != nil {
				t.Fatal(err)
			}
			image, err := File(path, test.system)
			if (err == nil) != (test.want != "") {
				t.Fatal(image, err)
			}
			if err == nil && (image.System() != test.want || image.portable != test.portable) {
				t.Errorf("%s, portable %v", image.system, image.portable)
			}
			if err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name the file", err)
			}
		})
	}
	if _, err := File(t.TempDir(), ""); !errors.Is(err, errNotExecutable) {
		t.Error(err)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(elf(elfMachine{62, true, false}, 0, 1, 3))
	f.Add(append([]byte("MZ"), make([]byte, 100)...))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = readHeader(bytes.NewReader(data)) })
}

// What uname says is one of Go's systems, or none.
func TestSystemOf(t *testing.T) {
	for uname, want := range map[string]string{
		"Linux x86_64": "linux/amd64", "Linux aarch64": "linux/arm64", "Linux armv7l": "linux/arm", "Darwin arm64": "darwin/arm64",
		"FreeBSD amd64": "freebsd/amd64", "Linux i686": "linux/386", "": "", "Linux": "", "Linux mips": "", "HAL 9000": "", "Linux x86_64 x": "",
	} {
		if got := systemOf(uname); got != want {
			t.Errorf("%q: %q, want %q", uname, got, want)
		}
	}
}
