package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxFile bounds authorized_keys and known_nodes: some 10,000 lines.
	maxFile = 1 << 20
	// lockPatience is how long a change of a file waits for another one.
	lockPatience = 5 * time.Second
)

// Files are the paths of one user's files.
type Files struct {
	Key            string // the private key; its public half is beside it, with .pub
	AuthorizedKeys string // of a node: who may come in
	KnownNodes     string // of a caller: which nodes it knows
}

// DefaultFiles returns the paths under $XDG_CONFIG_HOME/afar, which is
// ~/.config/afar unless it is set. The files need not exist.
func DefaultFiles() (Files, error) {
	config := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(config) { // the XDG rules say that a relative one is ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return Files{}, fmt.Errorf("trust: no place for keys: %w", err)
		}
		config = filepath.Join(home, ".config")
	}
	dir := filepath.Join(config, "afar")
	return Files{
		Key:            filepath.Join(dir, "key"),
		AuthorizedKeys: filepath.Join(dir, "authorized_keys"),
		KnownNodes:     filepath.Join(dir, "known_nodes"),
	}, nil
}

// openRegular opens a file for reading, and refuses what is none: opening a
// FIFO would wait for its writer.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if info, err = file.Stat(); err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// readList reads a file of lines. One that does not exist is an empty one. One
// that others can write is refused, because its lines could be anybody's.
func readList(path string) ([]byte, error) {
	file, info, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) && path != "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o022 != 0 {
		return nil, fmt.Errorf("%w: %s can be written by others (mode %#o): run chmod go-w %s",
			fs.ErrPermission, path, mode, shellWord(path))
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return text, err
}

// entries yields the lines of a file that are neither blank nor comments, with
// their numbers from 1.
func entries(text []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			if isEntry(line) && !yield(number, strings.TrimSpace(line)) {
				return
			}
		}
	}
}

// isEntry reports whether a line says something.
func isEntry(line string) bool {
	line = strings.TrimSpace(line)
	return line != "" && line[0] != '#'
}

// checkText refuses what could not be one line of a file, or would not be what
// it seems when it is printed.
func checkText(line string) error {
	if !utf8.ValidString(line) {
		return errors.New("not UTF-8")
	}
	for _, r := range line {
		if r != '\t' && !unicode.IsPrint(r) {
			return fmt.Errorf("the character %U is not allowed", r)
		}
	}
	return nil
}

// errUnchanged is what an edit returns when the file is right as it is.
var errUnchanged = errors.New("nothing to change")

// change replaces a file of lines by what edit makes of it. The replacement is
// atomic, and no change of another process is lost: as git does, the new text
// is written to path.lock, which only one can create, and whose renaming ends
// the change. Mode and owner of the file are kept; a new one has mode 0600.
func change(path string, edit func(old []byte) ([]byte, error)) error {
	path, err := realPath(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := lockWithin(path, lockPatience)
	if err != nil {
		return err
	}
	err = rewrite(file, path, edit)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
		if errors.Is(err, errUnchanged) {
			return nil
		}
		return err
	}
	syncDir(filepath.Dir(path))
	return nil
}

// rewrite writes the new text of path to file.
func rewrite(file *os.File, path string, edit func(old []byte) ([]byte, error)) error {
	old, err := readList(path)
	if err != nil {
		return err
	}
	text, err := edit(old)
	if err != nil {
		return err
	}
	if len(text) > maxFile {
		return fmt.Errorf("%s would be larger than %d bytes", path, maxFile)
	}
	if info, err := os.Stat(path); err == nil {
		keepOwner(file, info)
		if err := file.Chmod(info.Mode().Perm()); err != nil {
			return err
		}
	}
	if _, err := file.Write(text); err != nil {
		return err
	}
	return file.Sync()
}

// lockWithin creates path.lock, and waits while another has it. A lock that was left
// behind by a crash is not broken: two who break it at once would both have it.
func lockWithin(path string, patience time.Duration) (*os.File, error) {
	name := path + ".lock"
	for deadline := time.Now().Add(patience); ; {
		file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return file, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s is being changed by someone else; if not, remove %s", path, name)
		}
		time.Sleep(time.Millisecond + rand.N(5*time.Millisecond))
	}
}

// realPath follows symbolic links, so that the file they lead to is replaced,
// not the link.
func realPath(path string) (string, error) {
	if path == "" {
		return "", errors.New("no path of a file of keys is given")
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	return real, err
}

// syncDir makes a rename survive a crash of the system, where that can be asked
// for. Where it cannot, the rename has happened all the same.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}

// writeNew writes a file that must not exist yet, all of it or nothing.
func writeNew(path string, text []byte, mode fs.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// shellWord quotes a path for the command in an error, if it has to be.
func shellWord(path string) string {
	plain := func(r rune) bool {
		return r == '/' || r == '.' || r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
