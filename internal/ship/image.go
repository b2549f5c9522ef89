package ship

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// An Image is a program's executable for one system. It is immutable, and its methods may be called concurrently. It
// keeps its file open for as long as it is reachable, so that it does not matter what becomes of the file's name.
type Image struct {
	file     *os.File
	size     int64
	hash     string
	system   string
	portable bool // whether it runs on every host of its system

	mu         sync.Mutex
	compressed *compressed // nil until it is needed
}

// File opens an executable. The system is found out from the file's header if it is "", or else compared with it: a
// file for another one is refused. It reads the whole file, for its hash.
func File(path, system string) (*Image, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	image, err := newImage(file, system)
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return image, nil
}

// newImage reads an open file, without its offset, and keeps it.
func newImage(file *os.File, system string) (*Image, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotExecutable
	}
	h, err := readHeader(file)
	if err != nil {
		return nil, err
	}
	if system == "" {
		system = h.system()
	}
	if err := h.fits(system); err != nil {
		return nil, err
	}
	image := &Image{file: file, size: info.Size(), system: system, portable: h.portable(system)}
	sum := sha256.New()
	if n, err := io.Copy(sum, image.section()); err != nil || n != image.size {
		return nil, errors.Join(fmt.Errorf("%d of %d bytes could be read", n, image.size), err)
	}
	image.hash = hex.EncodeToString(sum.Sum(nil))
	return image, nil
}

// Hash returns the lowercase hexadecimal SHA-256 of the executable.
func (i *Image) Hash() string { return i.hash }

// System returns the system that the executable is for, as "linux/amd64".
func (i *Image) System() string { return i.system }

// Size returns the executable's number of bytes.
func (i *Image) Size() int64 { return i.size }

// Open returns a reader of the executable's bytes, independent of all others. The caller closes it.
func (i *Image) Open() (io.ReadCloser, error) { return io.NopCloser(i.section()), nil }

// section has an offset of its own: the descriptor may be shared, even with another process.
func (i *Image) section() *io.SectionReader { return io.NewSectionReader(i.file, 0, i.size) }
