package ship

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A cache is a directory of files that can be made again. "" is one that does not exist and cannot be made.
type cache string

const (
	gzipCache  = "gzip"  // compressed images, by hash
	buildCache = "built" // what was built here

	// cacheLimit is how many bytes each of the caller's own caches may hold.
	cacheLimit = 1 << 30

	// young is the age below which nothing is removed from a cache: it may be about to be used.
	young = time.Hour

	// sumSuffix ends the names of the files that say what others of the caller's own caches were when they were made.
	sumSuffix = ".sum"

	// precision is that of the time at which an image was used last.
	precision = 10 * time.Minute

	// partPrefix begins the names of files that are being written.
	partPrefix = ".part-"
)

var (
	errNoCache = errors.New("there is no cache directory")
	errDamaged = errors.New("it is not what it was when it was made")
)

// userCache returns one of afar's caches in the user's cache directory, made if need be.
func userCache(name string) cache {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	dir = filepath.Join(dir, "afar", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ""
	}
	return cache(dir)
}

// open opens a file and marks it as used now.
func (c cache) open(name string) (*os.File, error) {
	if c == "" {
		return nil, errNoCache
	}
	path := filepath.Join(string(c), name)
	file, err := os.Open(path)
	if err == nil {
		touch(path)
	}
	return file, err
}

// create writes a file, which gets its name when it is complete, and opens it.
func (c cache) create(name string, write func(io.Writer) error) (*os.File, error) {
	part, err := c.part()
	if err != nil {
		return nil, err
	}
	defer os.Remove(part.Name())
	if err := write(part); err != nil {
		_ = part.Close()
		return nil, err
	}
	if err := commit(part, filepath.Join(string(c), name)); err != nil {
		return nil, err
	}
	_ = c.tidy()
	return c.open(name)
}

// say writes down what a file is: its SHA-256, and perhaps more. It is only a hint: without it the file is made again.
func (c cache) say(name, what string) {
	part, err := c.part()
	if err != nil {
		return
	}
	defer os.Remove(part.Name())
	if _, err := part.WriteString(what); err != nil {
		_ = part.Close()
		return
	}
	_ = commit(part, filepath.Join(string(c), name+sumSuffix))
}

// said returns the SHA-256 of which say has said that it is a file's, if the rest of what it has said is this.
func (c cache) said(name, rest string) (sum string, err error) {
	what, err := os.ReadFile(filepath.Join(string(c), name+sumSuffix))
	if err != nil {
		return "", err
	}
	sum, found := strings.CutSuffix(string(what), rest)
	if !found || !isHash(sum) {
		return "", errDamaged
	}
	return sum, nil
}

// tidy keeps the cache within its limit.
func (c cache) tidy() error {
	return tidy(string(c), cacheLimit, func(name string) bool { return !strings.HasSuffix(name, sumSuffix) })
}

// part makes a file for something that is not complete.
func (c cache) part() (*os.File, error) {
	if c == "" {
		return nil, errNoCache
	}
	return os.CreateTemp(string(c), partPrefix)
}

// commit gives a complete file its name. It is on the disk before: a host that loses its power must not have half a
// file by a name that promises a whole one. It takes the place of whatever has that name.
func commit(part *os.File, path string) error {
	err := part.Sync()
	if closeErr := part.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	err = os.Rename(part.Name(), path)
	if old, statErr := os.Lstat(path); err != nil && statErr == nil && (old.IsDir() || old.Mode().Perm()&0o200 == 0) {
		// No system renames a file to a directory's name, and Windows not to that of one that may only be read.
		if err = os.RemoveAll(path); err == nil {
			err = os.Rename(part.Name(), path)
		}
	}
	return err
}

// touch marks a file as used now, by the time of its last access: that of its last change is a part of an image's
// identity while it runs. It is only a hint: failing to give it is no error.
func touch(path string) { _ = os.Chtimes(path, time.Now(), time.Time{}) }

// tidy removes the files that were not used for the longest time until the rest of them is no larger than the limit,
// and what was left behind unfinished; but nothing that is young. counts tells which names are those of finished files.
func tidy(dir string, limit int64, counts func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	now := time.Now()
	var files []fs.FileInfo
	var total int64
	var errs []error
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			continue // Another process has removed it.
		}
		if info.Mode().IsRegular() && !unfinished(info.Name()) && counts(info.Name()) {
			files = append(files, info)
			total += info.Size()
		} else if unfinished(info.Name()) && now.Sub(info.ModTime()) > young {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, info.Name())))
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return usedAt(a).Compare(usedAt(b)) })
	for _, info := range files {
		if total <= limit || now.Sub(usedAt(info)) <= young+precision {
			break
		}
		if err := os.Remove(filepath.Join(dir, info.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		_ = os.Remove(filepath.Join(dir, info.Name()+ranSuffix))
		_ = os.Remove(filepath.Join(dir, info.Name()+sumSuffix))
		total -= info.Size()
	}
	return errors.Join(errs...)
}
