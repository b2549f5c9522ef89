package push

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Options say what is pushed, and how.
type Options struct {
	Delete   bool // what the source does not have
	Checksum bool // files are compared by content, whatever their times are
	DryRun   bool // nothing is changed
	// Filter tells whether something in the source is part of it; nil means that
	// everything is. It is not called concurrently.
	Filter func(path string, d fs.DirEntry) bool
}

// Source is the directory that is pushed, to any number of places at a time.
type Source struct {
	Options
	root *os.Root
	path string // that it was opened by

	filtering sync.Mutex
	mu        sync.Mutex
	problems  map[string]bool // texts of errs
	errs      []error
	more      int
}

// OpenSource opens a directory. Its owner closes it.
func OpenSource(dir string, o Options) (*Source, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Source{Options: o, root: root, path: dir, problems: map[string]bool{}}, nil
}

// Close closes the directory.
func (s *Source) Close() error { return s.root.Close() }

// clash refuses a place that pushing would spoil the source by.
func (s *Source) clash(to Place) error {
	path, err := filepath.Abs(s.path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return err
	}
	for at := path; ; at = filepath.Dir(at) {
		fi, err := os.Stat(at)
		if err != nil {
			return err
		}
		rest, has := to.has(fi, at)
		switch {
		case has && rest == "" && at == path:
			return errors.New("push: it is the directory that is pushed")
		case has && rest == "" && s.Delete:
			return errors.New("push: it has the directory that is pushed in it, which Delete would delete")
		case at == filepath.Dir(at):
			return nil
		}
	}
}

// maxProblems bounds how many are named.
const maxProblems = 20

// problem notes that something cannot be pushed; the rest is.
func (s *Source) problem(path string, err error) {
	var in *fs.PathError
	if errors.As(err, &in) { // it has the name without the path
		err = in.Err
	}
	err = fmt.Errorf("%s: %w", path, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch text := err.Error(); {
	case s.problems[text]: // on the way to another host
	case len(s.errs) == maxProblems:
		s.more++
	default:
		s.problems[text] = true
		s.errs = append(s.errs, err)
	}
}

// Err returns what could not be pushed to anybody, and why; nil if all was.
func (s *Source) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := s.errs
	if s.more > 0 {
		errs = append(errs[:len(errs):len(errs)], fmt.Errorf("and %d more", s.more))
	}
	return errors.Join(errs...)
}

// wants asks the filter.
func (s *Source) wants(path string, fi fs.FileInfo) bool {
	if s.Filter == nil {
		return true
	}
	s.filtering.Lock()
	defer s.filtering.Unlock()
	return s.Filter(path, fs.FileInfoToDirEntry(fi))
}

// walker gives the entries of a source, in order.
type walker struct {
	*Source
	ctx  context.Context
	emit func(e *entry, path string) error
	to   Place  // where the entries go
	skip string // the path of that, when it is in the source
	buf  []byte
}

var errTarget = errors.New("it is the directory that is pushed to")

// dir gives the entries of a directory.
func (w *walker) dir(dir *os.Root, names []string, path string, depth int) error {
	if fi, err := dir.Stat("."); err == nil {
		if rest, has := w.to.has(fi, filepath.Join(w.path, path)); has {
			w.skip = join(path, rest)
		}
	}
	for _, name := range names {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		if isTemp(name) { // the source was pushed to itself
			continue
		}
		at := join(path, name)
		fi, err := dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone before it was named: not in the source
		}
		if err == nil {
			err = checkName(name)
		}
		if err != nil {
			w.problem(at, err)
			continue
		}
		if !w.wants(at, fi) {
			continue
		}
		if err := w.one(dir, fi, name, at, depth); err != nil {
			return err
		}
	}
	return nil
}

// one gives what is by a name in a directory.
func (w *walker) one(dir *os.Root, fi fs.FileInfo, name, at string, depth int) error {
	e := &entry{name: name, attr: attrOf(fi)}
	var err error
	switch mode := fi.Mode(); {
	case mode.IsDir():
		if rest, has := w.to.has(fi, filepath.Join(w.path, at)); at == w.skip || has && rest == "" {
			return w.give(e, at, errTarget)
		}
		return w.enter(dir, e, at, depth+1)
	case mode.IsRegular():
		e.kind = entryFile
		if w.Checksum {
			e.sum, err = w.sum(dir, name)
		}
	case mode&fs.ModeSymlink != 0:
		e.kind = entryLink
		if e.link, err = dir.Readlink(name); err == nil && len(e.link) > maxLink {
			err = fmt.Errorf("the link is %d bytes long", len(e.link))
		}
	default:
		err = fmt.Errorf("%s cannot be pushed; Filter leaves it out", what(mode))
	}
	return w.give(e, at, err)
}

// give gives an entry, or says that it cannot be had.
func (w *walker) give(e *entry, at string, err error) error {
	switch {
	case w.ctx.Err() != nil:
		return context.Cause(w.ctx)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		w.problem(at, err)
		e = &entry{kind: entryKeep, name: e.name}
	}
	return w.emit(e, at)
}

// enter gives a directory and what is in it.
func (w *walker) enter(parent *os.Root, e *entry, at string, depth int) error {
	if depth > maxDepth {
		return w.give(e, at, fmt.Errorf("more than %d directories in each other", maxDepth))
	}
	dir, err := openDir(parent, e.name)
	if err != nil {
		return w.give(e, at, err)
	}
	defer func() { _ = dir.Close() }()
	names, err := list(dir)
	if err != nil {
		return w.give(e, at, err)
	}
	e.kind, e.size = entryDir, 0
	if err := w.emit(e, at); err != nil {
		return err
	}
	if err := w.dir(dir, names, at, depth); err != nil {
		return err
	}
	return w.emit(&entry{kind: entryLeave}, at)
}

func (w *walker) sum(dir *os.Root, name string) ([sha256.Size]byte, error) {
	f, _, err := openFile(dir, name)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	defer func() { _ = f.Close() }()
	if w.buf == nil {
		w.buf = make([]byte, chunkSize)
	}
	return hashOf(w.ctx, f, w.buf)
}

// hashOf is the hash of a whole file, which it reads by way of buf.
func hashOf(ctx context.Context, f io.Reader, buf []byte) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	_, err = io.CopyBuffer(h, contextReader{ctx, f}, buf)
	h.Sum(sum[:0])
	return sum, err
}

// contextReader reads as long as a context lasts.
type contextReader struct {
	ctx  context.Context
	from io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.from.Read(p)
}

// list returns the names in a directory, sorted by their bytes.
func list(dir *os.Root) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}
