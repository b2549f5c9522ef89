package push

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Receive is the far side of a conversation: it makes the directory that the near
// side names equal to its source. It returns nil also when the near side wants
// nothing after it has heard which directory that is. Several at a time are fine,
// of one directory only of one push: others would take its temporary files away.
func Receive(ctx context.Context, c io.ReadWriter) error {
	s := newStream(c)
	s.size = max(1, int(s.uint(pieceSize)))
	t := &target{ctx: ctx, s: s, o: Options{Delete: s.bool(), Checksum: s.bool(), DryRun: s.bool()}}
	path := s.string(maxPath)
	if s.err != nil {
		return s.err
	}
	place, err := locate(path)
	if err != nil {
		return err
	}
	s.putString(place.Host[:min(len(place.Host), maxName)])
	s.putString(place.Key)
	if err := s.flush(); err != nil {
		return err
	}
	if _, err := s.in.Peek(1); err != nil {
		return nil // another worker of this host was chosen
	}
	return t.receive(path)
}

// pathError is what went wrong with which file.
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return e.path + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// named says which file an error is about, unless the error does.
func named(path string, err error) error {
	var e *pathError
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &pathError{path, err}
}

// target is the directory that is pushed to. It is used by one goroutine.
type target struct {
	ctx context.Context
	s   *stream
	o   Options
	id  ID

	dir      *dir // in which the entries are that come
	pending  []*need
	blocks   int64  // in the signatures of pending
	deferred []*dir // that are left when pending are done
	find     finder
	buf      []byte
}

// dir is a directory of the target.
type dir struct {
	up      *dir
	root    *os.Root // nil in a dry run, when there is none
	path    string   // below the target
	attr    attr
	names   []string // what is there and was not reached, sorted
	last    string   // name that came
	pending int      // files that are to come in it
	top     bool     // that was there: its mode is its own
}

// need is a file whose content has been asked for.
type need struct {
	dir   *dir
	name  string
	index int
	old   fs.FileInfo // whose blocks may be used, or nil
}

// receive takes all batches.
func (t *target) receive(path string) error {
	t.buf = make([]byte, chunkSize)
	t.s.full(t.id[:])
	attr := t.s.attr()
	if t.s.err != nil {
		return t.s.err
	}
	if err := t.open(path, attr); err != nil {
		return err
	}
	defer t.close()
	for {
		batch, end := t.batch()
		if t.s.err != nil {
			return t.s.err
		}
		for i := range batch {
			if t.ctx.Err() != nil {
				return context.Cause(t.ctx)
			}
			path := join(t.dir.path, batch[i].name)
			if err := t.entry(i, &batch[i]); err != nil {
				return named(path, err)
			}
		}
		if err := t.turn(); err != nil {
			return err
		}
		if end == finalEnd {
			if t.dir.up != nil {
				return violation("the end comes within %s", t.dir.path)
			}
			if err := t.leave(); err != nil {
				return err
			}
		}
		t.s.put(replyDone)
		if err := t.s.flush(); err != nil || end == finalEnd {
			return err
		}
	}
}

// batch reads a batch to its end: then it is this side's turn to write.
func (t *target) batch() ([]entry, byte) {
	var batch []entry
	bytes := 0
	for {
		e := t.s.entry(t.o.Checksum)
		if t.s.err != nil || e.kind == batchEnd || e.kind == finalEnd {
			return batch, e.kind
		}
		bytes += len(e.name) + len(e.link)
		if len(batch) == batchEntries || bytes > batchBytes+maxName+maxLink {
			t.s.fail(violation("the batch is too large"))
		}
		batch = append(batch, e)
	}
}

// open opens the directory at path, or makes it.
func (t *target) open(path string, a attr) error {
	t.dir = &dir{attr: a, top: true}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		t.dir.top = false
		if t.o.DryRun {
			return nil
		}
		if err := os.MkdirAll(path, 0o777); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	t.dir.root, t.find.root = root, root
	if err := t.read(t.dir); err != nil {
		_ = root.Close()
		return err
	}
	return nil
}

// close closes what is open still.
func (t *target) close() {
	t.find.close()
	for d := t.dir; d != nil; d = d.up {
		d.close()
	}
	for _, d := range t.deferred {
		d.close()
	}
}

func (d *dir) close() {
	if d.root != nil {
		_ = d.root.Close()
	}
}

// read lists what is in a directory and removes what a push left there that has
// ended before its time.
func (t *target) read(d *dir) error {
	names, err := list(d.root)
	if err != nil {
		return err
	}
	d.names = names[:0]
	for _, name := range names {
		if !isTemp(name) {
			d.names = append(d.names, name)
		} else if !t.o.DryRun && !strings.HasPrefix(name, t.id.tempPrefix()) {
			_ = d.root.Remove(name) // not a file of ours if it does not go
		}
	}
	return nil
}

// entry does what an entry asks for.
func (t *target) entry(index int, e *entry) error {
	if e.kind == entryLeave {
		if t.dir.up == nil {
			return violation("the way leads out of the directory")
		}
		return t.leave()
	}
	if err := checkName(e.name); err != nil {
		return err
	}
	if e.name <= t.dir.last {
		return violation("%q comes after %q", e.name, t.dir.last)
	}
	t.dir.last = e.name
	if err := t.pass(e.name); err != nil {
		return err
	}
	old, err := t.lstat(e.name)
	if err != nil {
		return err
	}
	switch e.kind {
	case entryDir:
		return t.enter(index, e, old)
	case entryFile:
		return t.file(index, e, old)
	case entryLink:
		return t.link(index, e, old)
	}
	return nil
}

// lstat says what is by a name in the directory, nil if nothing.
func (t *target) lstat(name string) (fs.FileInfo, error) {
	if t.dir.root == nil {
		return nil, nil
	}
	fi, err := t.dir.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return fi, err
}

// pass goes on to a name, or past all with "", and deletes what the source does
// not have.
func (t *target) pass(name string) error {
	d := t.dir
	for len(d.names) > 0 && (name == "" || d.names[0] < name) {
		extra := d.names[0]
		d.names = d.names[1:]
		if !t.o.Delete {
			continue
		}
		if !t.o.DryRun {
			if err := removeAll(d.root, extra); err != nil {
				return err
			}
		}
		t.s.put(replyDeleted)
		t.s.putString(join(d.path, extra))
	}
	if len(d.names) > 0 && d.names[0] == name {
		d.names = d.names[1:]
	}
	return t.s.err
}

// changed reports that an entry was made equal without content.
func (t *target) changed(index int) {
	t.s.put(replyChanged)
	t.s.putUint(uint64(index))
}

// enter goes into a directory, which it makes if need be.
func (t *target) enter(index int, e *entry, old fs.FileInfo) error {
	d := &dir{up: t.dir, path: join(t.dir.path, e.name), attr: e.attr}
	if strings.Count(d.path, "/") >= maxDepth {
		return violation("more than %d directories in each other", maxDepth)
	}
	there := old != nil && old.IsDir()
	if !there || old.Mode().Perm() != e.perm {
		t.changed(index)
	}
	if t.o.DryRun {
		if there {
			return t.into(d, e.name)
		}
		t.dir = d
		return nil
	}
	const own = 0o700
	if !there {
		if old != nil {
			if err := t.dir.root.Remove(e.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		// On a file system that hosts share, another may just have made it.
		if err := t.dir.root.Mkdir(e.name, own); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	} else if old.Mode()&own != own {
		if err := t.dir.root.Chmod(e.name, old.Mode()|own); err != nil {
			return err
		}
	}
	return t.into(d, e.name)
}

// into opens a directory of the one there is, and makes it that.
func (t *target) into(d *dir, name string) (err error) {
	if d.root, err = openDir(t.dir.root, name); err != nil {
		return err
	}
	t.dir = d // close closes it
	return t.read(d)
}

// leave goes back up. The directory is finished now, or when the files have come
// that are in it.
func (t *target) leave() error {
	if err := t.pass(""); err != nil {
		return err
	}
	d := t.dir
	if d.up != nil {
		t.dir = d.up
	}
	if d.pending > 0 {
		t.deferred = append(t.deferred, d)
		if len(t.deferred) >= maxDeferred {
			return t.turn()
		}
		return nil
	}
	err := t.finish(d)
	if d.up != nil {
		d.close()
	}
	return err
}

// finish gives a directory its mode and time. One that was there before the push
// and is the target itself keeps its mode.
func (t *target) finish(d *dir) error {
	if d.root == nil || t.o.DryRun {
		return nil
	}
	fi, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	a := d.attr
	if d.top {
		a.perm = fi.Mode().Perm()
	}
	if a.same(fi) {
		return nil
	}
	// The time first: without a right to the directory it cannot be named.
	if err := d.root.Chtimes(".", a.time, a.time); err != nil {
		return err
	}
	if fi.Mode().Perm() == a.perm {
		return nil
	}
	return d.root.Chmod(".", fi.Mode()&^fs.ModePerm|a.perm)
}

// link makes a link, which is never followed.
func (t *target) link(index int, e *entry, old fs.FileInfo) error {
	if old != nil && old.Mode()&fs.ModeSymlink != 0 {
		if there, err := t.dir.root.Readlink(e.name); err == nil && there == e.link {
			return nil
		}
	}
	t.changed(index)
	if t.o.DryRun {
		return nil
	}
	temp := t.id.tempName()
	if err := t.dir.root.Symlink(e.link, temp); err != nil {
		return err
	}
	return place(t.dir.root, temp, e.name)
}

// place gives what has a temporary name its own, in place of whatever has that
// now.
func place(d *os.Root, temp, name string) error {
	fi, err := d.Lstat(name)
	if err == nil && fi.IsDir() {
		err = removeAll(d, name)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = d.Rename(temp, name)
	}
	if err != nil {
		_ = d.Remove(temp)
	}
	return err
}

// removeAll removes what has a name, also what is in directories that cannot be
// written to.
func removeAll(d *os.Root, name string) error {
	err := d.RemoveAll(name)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := unlock(d, name); err != nil {
		return err
	}
	return d.RemoveAll(name)
}

// unlock makes directories writable.
func unlock(d *os.Root, name string) error {
	fi, err := d.Lstat(name)
	if err != nil || !fi.IsDir() {
		return err
	}
	if err := d.Chmod(name, fi.Mode()|0o700); err != nil {
		return err
	}
	sub, err := openDir(d, name)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }()
	names, err := list(sub)
	for _, name := range names {
		err = errors.Join(err, unlock(sub, name))
	}
	return err
}

// sameSum tells whether a file that is there has the content of the entry.
func (t *target) sameSum(e *entry) (bool, error) {
	f, _, err := openFile(t.dir.root, e.name)
	if err != nil {
		return false, nil // then it is replaced
	}
	defer func() { _ = f.Close() }()
	sum, err := hashOf(t.ctx, f, t.buf)
	if t.ctx.Err() != nil {
		return false, err
	}
	return err == nil && sum == [sha256.Size]byte(e.sum), nil
}
