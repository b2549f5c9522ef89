package push

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Kinds of messages of the near side: entries, and how a batch ends.
const (
	entryDir   = 'd' // the entries in it follow, and then entryLeave
	entryLeave = 'u'
	entryFile  = 'f'
	entryLink  = 'l'
	entryKeep  = 'k' // it is there, but cannot be pushed: the far side leaves what it has
	batchEnd   = '.'
	finalEnd   = 'e' // of the last batch
)

// Kinds of messages of the far side about a batch.
const (
	replyWhole   = 'n' // a file is needed
	replyDelta   = 's' // a file is needed, and these are the blocks of what is there
	replyPlain   = 'r' // a file is needed once more, without use of what is there
	replyChanged = 'c' // something was made or changed without content
	replyDeleted = 'x'
	replyTurn    = '!' // what was asked for is awaited
	replyDone    = '.' // the batch is
)

// Kinds of messages of the near side in an answer.
const (
	answerBegin   = 'b' // of a file's content
	answerGone    = 'g' // it cannot be had
	opBytes       = 'L'
	opZeros       = 'Z'
	opBlocks      = 'O' // of the file that is replaced
	opCopy        = 'C' // of another file that was pushed
	answerEnd     = 'E' // and the hash of the whole
	answerAbandon = 'A' // it changed meanwhile; begin again
)

// Limits of what one side takes from the other.
const (
	batchEntries = 4096
	batchBytes   = 512 << 10
	chunkSize    = 128 << 10 // of bytes, zeros and copies
	maxName      = 1024      // bytes; systems have 255
	maxLink      = 16 << 10
	maxPath      = 1 << 20
	maxDepth     = 500 // directories in each other, each of which is open
	maxDeferred  = 100 // directories that stay open until the files in them have come
)

// entry is what the near side says of one thing in a directory.
type entry struct {
	kind byte
	name string
	attr
	sum  [sha256.Size]byte // of a file, with Options.Checksum
	link string            // what a link says
}

// attr is what travels of a file's or directory's attributes.
type attr struct {
	perm fs.FileMode
	time time.Time
	size int64 // of a file
}

func attrOf(fi fs.FileInfo) attr {
	return attr{perm: fi.Mode().Perm(), time: settable(fi.ModTime()), size: fi.Size()}
}

// same tells whether what is there has these attributes; the size does not count.
func (a attr) same(fi fs.FileInfo) bool {
	return fi.Mode().Perm() == a.perm && settable(fi.ModTime()).Equal(a.time)
}

func (s *stream) putEntry(e *entry, sums bool) {
	s.put(e.kind)
	if e.kind == entryLeave {
		return
	}
	s.putString(e.name)
	switch e.kind {
	case entryDir:
		s.putAttr(e.attr)
	case entryFile:
		s.putAttr(e.attr)
		if sums {
			s.put(e.sum[:]...)
		}
	case entryLink:
		s.putString(e.link)
	}
}

func (s *stream) putAttr(a attr) {
	s.putUint(uint64(a.perm))
	s.putTime(a.time)
	s.putUint(uint64(a.size))
}

func (s *stream) attr() attr { return attr{perm: s.perm(), time: s.time(), size: s.length()} }

// entry reads an entry, or the end of a batch.
func (s *stream) entry(sums bool) entry {
	e := entry{kind: s.kind()}
	switch e.kind {
	case entryLeave, batchEnd, finalEnd:
		return e
	case entryDir, entryFile, entryLink, entryKeep:
	default:
		s.fail(violation("unknown entry %q", e.kind))
		return e
	}
	e.name = s.string(maxName)
	switch e.kind {
	case entryDir:
		e.attr = s.attr()
	case entryFile:
		e.attr = s.attr()
		if sums {
			s.full(e.sum[:])
		}
	case entryLink:
		e.link = s.string(maxLink)
	}
	return e
}

// checkName refuses what is not the name of one thing in a directory.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == ".." || len(name) > maxName ||
		strings.ContainsAny(name, "/\x00") || strings.ContainsRune(name, filepath.Separator) || !filepath.IsLocal(name):
		return violation("%q is not the name of a file", name)
	case isTemp(name):
		return violation("%q is the name of a temporary file", name)
	}
	return nil
}

// ID is what the temporary files of one push have in common.
type ID [6]byte

// Temporary files have this prefix, the digits of the push's ID and random ones.
// Whoever finds one of another push takes it that this has ended before its time.
// Of its own there may be several: hosts can share a file system.
const (
	tempPrefix = ".afar-push-"
	tempDigits = 24
)

func (id ID) tempPrefix() string { return tempPrefix + hex.EncodeToString(id[:]) }

func (id ID) tempName() string {
	var b [tempDigits/2 - len(id)]byte
	_, _ = rand.Read(b[:]) // it never fails
	return id.tempPrefix() + hex.EncodeToString(b[:])
}

func isTemp(name string) bool {
	digits, found := strings.CutPrefix(name, tempPrefix)
	return found && len(digits) == tempDigits && strings.Trim(digits, "0123456789abcdef") == ""
}

// errReplaced means that a name stands for something else from one moment to the
// next.
var errReplaced = errors.New("it was replaced while it was opened")

// openDir opens a directory in another, and nothing that a link leads to: os.Root
// would follow one that stays inside.
func openDir(parent *os.Root, name string) (*os.Root, error) {
	before, err := parent.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
	}
	dir, err := parent.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	after, err := dir.Stat(".")
	if err == nil && !os.SameFile(before, after) {
		err = errReplaced
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

// openFile opens a regular file in a directory, never through a link, and never
// waiting for a pipe's other end.
func openFile(dir *os.Root, name string) (*os.File, fs.FileInfo, error) {
	before, err := dir.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is %s and not a file", name, what(before.Mode()))
	}
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	after, err := f.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = errReplaced
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, after, nil
}

// finder opens files by their paths, with slashes, below a root. Those that come
// one after the other are mostly of one directory, which stays open. It may be
// used by one goroutine at a time.
type finder struct {
	root *os.Root
	path string   // of dir
	dir  *os.Root // nil when it is the root
}

func (f *finder) open(path string) (*os.File, fs.FileInfo, error) {
	above, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		above, name = path[:i], path[i+1:]
	}
	if above != f.path {
		if err := f.enter(above); err != nil {
			return nil, nil, err
		}
	}
	if err := checkName(name); err != nil {
		return nil, nil, err
	}
	dir := f.dir
	if dir == nil {
		dir = f.root
	}
	return openFile(dir, name)
}

func (f *finder) enter(path string) error {
	f.close()
	for name := range strings.SplitSeq(path, "/") {
		if path == "" {
			break
		}
		if err := checkName(name); err != nil {
			f.close()
			return err
		}
		dir := f.dir
		if dir == nil {
			dir = f.root
		}
		next, err := openDir(dir, name)
		f.close()
		if err != nil {
			return err
		}
		f.dir = next
	}
	f.path = path
	return nil
}

func (f *finder) close() {
	if f.dir != nil {
		_ = f.dir.Close()
	}
	f.dir, f.path = nil, ""
}

// what names a kind of file.
func what(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a link"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m.IsRegular():
		return "a file"
	}
	return "a special file"
}

// join is the path, with slashes, of a name in a directory of which "" is the
// root.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// Times that can be set are those that an int64 of nanoseconds has.
var (
	firstTime = time.Unix(0, math.MinInt64)
	lastTime  = time.Unix(0, math.MaxInt64)
)

// settable returns a time, or the nearest that a file can be given.
func settable(t time.Time) time.Time {
	switch {
	case t.Before(firstTime):
		return firstTime
	case t.After(lastTime):
		return lastTime
	}
	return t
}
