package ship

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Store is a directory of images, the same that [Bootstrap] fills. Several processes may use one directory, and the
// methods may be called concurrently. There is nothing to close.
type Store struct {
	dir cache

	mu      sync.Mutex
	puts    map[string]chan struct{} // by hash: the Put that is under way; closed at its end
	checked map[string]fs.FileInfo   // by hash: the file as it was when it was found to be the image

	checking sync.Mutex // held while a file is read, so that those who want it too wait
}

// OpenStore opens a directory of images, which it makes, for the user alone, if it is not there.
func OpenStore(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Store{dir: cache(dir), puts: map[string]chan struct{}{}, checked: map[string]fs.FileInfo{}}, nil
}

// Path returns the path of an image, absolute and ready to be executed, and marks the image as used now. It is not ok
// if the image is not there, or if hash is none.
//
// A file is read before its path is given for the first time, and again whenever it is another one or was changed. If
// it is not what its name says, or cannot be executed, it is removed, whatever it is: a directory too.
func (s *Store) Path(hash string) (path string, ok bool) {
	if !isHash(hash) {
		return "", false
	}
	s.Use(hash)
	return s.path(hash), s.check(hash)
}

// Use marks an image as used now, if it is there.
func (s *Store) Use(hash string) {
	path := s.path(hash)
	// Doing so changes the file's ctime, after which it is read again: so not every time.
	if info, err := os.Lstat(path); err == nil && isHash(hash) && info.Mode().IsRegular() && time.Since(usedAt(info)) > precision {
		touch(path)
	}
}

// ranSuffix ends the names of the files that say which images were found to be what their names say, and run from there.
const ranSuffix = ".ran"

// Known tells whether the file of an image, of which the caller knows an identity that changes with its content, was
// found to be that image before, by whoever called Know. The script of Bootstrap executes such a file without more ado.
func (s *Store) Known(hash, identity string) bool {
	known, err := os.ReadFile(s.path(hash) + ranSuffix)
	return isHash(hash) && err == nil && identity != "" && string(known) == identity
}

// Know says that the image was found to be what its name says. It is only a hint: failing to give it is no error.
func (s *Store) Know(hash, identity string) {
	// A host that loses its power must not have the word of an image that is not on its disk.
	if image, err := os.Open(s.path(hash)); err == nil {
		_ = image.Sync()
		_ = image.Close()
	}
	if part, err := s.dir.part(); err == nil && isHash(hash) {
		if _, err := part.WriteString(identity); err == nil {
			_ = commit(part, s.path(hash)+ranSuffix)
		}
		_ = part.Close()
		_ = os.Remove(part.Name()) // unless it has its name
	}
}

// Put stores the image with a hash that r gives, as it is or in gzip's format. When it is there already, r is not read.
// Of several calls for one hash at a time one reads, and the others wait for it; if it fails, one of them is next.
//
// Nothing stays of an image that has another hash or more than max bytes, or when r or ctx ends too early; the error is
// then an [*Error]. What is read from r is at most a little more than what it takes. A blocked Read is not interrupted
// by ctx: the caller sees to that.
func (s *Store) Put(ctx context.Context, hash string, r io.Reader, max int64) error {
	if !isHash(hash) {
		return &Error{Stage: StageHash, Err: fmt.Errorf("%q is not a SHA-256", hash)}
	}
	for {
		s.mu.Lock()
		running := s.puts[hash]
		if running == nil {
			break
		}
		s.mu.Unlock()
		select {
		case <-running:
		case <-ctx.Done():
			return &Error{Stage: StageUpload, Err: context.Cause(ctx)}
		}
	}
	done := make(chan struct{})
	s.puts[hash] = done
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.puts, hash)
		s.mu.Unlock()
		close(done)
	}()
	if _, ok := s.Path(hash); ok {
		return nil
	}
	return s.put(ctx, hash, r, max)
}

func (s *Store) put(ctx context.Context, hash string, r io.Reader, max int64) error {
	part, err := s.dir.part()
	if err != nil {
		return writeError(err)
	}
	defer os.Remove(part.Name())
	defer part.Close()
	got, err := receive(ctx, part, r, max)
	switch {
	case ctx.Err() != nil:
		return &Error{Stage: StageUpload, Err: context.Cause(ctx)}
	case err != nil:
		return writeError(err)
	case got != hash:
		return &Error{Stage: StageHash, Err: fmt.Errorf("%s was announced, and %s arrived", hash, got)}
	}
	// Nobody writes to it by accident: those who run as this user could, and are to be prevented by other means.
	if err = part.Chmod(0o500); err == nil {
		err = commit(part, s.path(hash))
	}
	return writeError(err)
}

// Tidy removes images, least recently used first, until the rest of them has no more bytes than the limit, and what
// uploads that were cut off have left behind. It removes nothing that was made or used within the last hour.
func (s *Store) Tidy(limit int64) error { return tidy(string(s.dir), limit, isHash) }

func (s *Store) path(hash string) string { return filepath.Join(string(s.dir), hash) }

// receive writes an image to w and returns its hash.
func receive(ctx context.Context, w io.Writer, r io.Reader, max int64) (hash string, err error) {
	buffered := bufio.NewReader(contextReader{ctx, r})
	var image io.Reader = buffered
	if magic, _ := buffered.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return "", fmt.Errorf("read the image: %w", err)
		}
		z.Multistream(false) // It ends where the image ends, even if the stream goes on.
		image = z
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(image, max+1))
	if err == nil && n > max {
		err = fmt.Errorf("the image has more than %d bytes", max)
	}
	return hex.EncodeToString(sum.Sum(nil)), err
}

// contextReader ends when ctx does, if the reader does not block.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// writeError says which stage an error in storing an image belongs to.
func writeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC):
		return &Error{Stage: StageNoSpace, Err: err}
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist):
		return &Error{Stage: StageNoDirectory, Err: err}
	}
	return &Error{Stage: StageUpload, Err: err}
}

// isHash tells whether a name is that of an image.
func isHash(name string) bool {
	return len(name) == 2*sha256.Size && strings.Trim(name, "0123456789abcdef") == ""
}

// unfinished tells whether a name is one that an upload gives to what it removes at its end, here or in the script of
// Bootstrap.
func unfinished(name string) bool {
	if strings.HasPrefix(name, partPrefix) || strings.HasPrefix(name, "probe.") {
		return true
	}
	hash, suffix, _ := strings.Cut(name, ".")
	return isHash(hash) && strings.HasPrefix(suffix, "lock")
}
