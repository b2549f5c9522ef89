package launch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// image is the running program's own executable.
//
// What it remembers is taken once, as early as possible: RememberImage is called at the beginning of main, when the
// file that the process was started from is most likely still there.
type image struct {
	file *os.File // the executable, open for the life of the process; nil when it cannot be read
	path string   // where to execute it when the descriptor cannot be
	id   string
	err  error // why there is no id
}

var (
	remembered atomic.Bool
	ownImage   = sync.OnceValue(openImage)
	ownHash    = sync.OnceValues(func() (string, error) { return ownImage().hash() })
)

// RememberImage records the executable of this process, so that Local can start it again after it was deleted or
// replaced on disk. A program that means to start workers calls it first in main; repeated calls do nothing.
func RememberImage() {
	ownImage()
	remembered.Store(true)
}

// Executable returns the running image, open for the life of the process, whose offset nobody may use; nil where it
// cannot be read.
func Executable() *os.File { return ownImage().file }

// ImageID returns a cheap identity of the running image on this host, "device:inode:size:mtime-in-nanoseconds".
// Two processes with the same ID on one host run the same image. It may be called at any time, concurrently.
func ImageID() (string, error) {
	m := ownImage()
	return m.id, m.err
}

// ImageHash returns the lowercase hexadecimal SHA-256 of the running image. The first call reads the whole file;
// later ones return its result. It may be called at any time, concurrently.
func ImageHash() (string, error) { return ownHash() }

// hash reads the image. Where it is not held open the file could have been replaced since; that is an error.
func (m *image) hash() (string, error) {
	if m.err != nil {
		return "", m.err
	}
	file := m.file
	if file == nil {
		var err error
		if file, err = os.Open(m.path); err != nil {
			return "", fmt.Errorf("afar: read the running image: %w", err)
		}
		defer file.Close()
	}
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("afar: read the running image: %w", err)
	}
	if id, err := fileID(file, info); err != nil || id != m.id {
		return "", fmt.Errorf("afar: %s is no longer the image that this process runs", m.path)
	}
	sum := sha256.New()
	// A section has its own offset: the descriptor may be shared.
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, info.Size())); err != nil {
		return "", fmt.Errorf("afar: read the running image: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// identify fills in the ID from an open file.
func (m *image) identify(file *os.File) {
	info, err := file.Stat()
	if err == nil {
		m.id, err = fileID(file, info)
	}
	if err != nil {
		m.err = fmt.Errorf("afar: identify the running image: %w", err)
	}
}
