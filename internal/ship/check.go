package ship

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// check tells whether the file of an image is what its name says, and removes what is not.
func (s *Store) check(hash string) bool {
	if s.known(hash) {
		return true
	}
	s.checking.Lock()
	defer s.checking.Unlock()
	if s.known(hash) { // somebody else has read it meanwhile
		return true
	}
	path := s.path(hash)
	found, err := os.Lstat(path)
	if err != nil {
		return false
	}
	good, err := inspect(path, found, hash)
	if err != nil {
		return false // that it could not be read says nothing about it
	}
	if !good {
		if now, err := os.Lstat(path); err == nil && os.SameFile(found, now) {
			_ = os.RemoveAll(path)
			_ = os.Remove(path + ranSuffix)
		}
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked[hash] = found
	return true
}

// known tells whether the file of an image is the one that was checked, and has not been changed since.
func (s *Store) known(hash string) bool {
	now, err := os.Lstat(s.path(hash))
	s.mu.Lock()
	defer s.mu.Unlock()
	then := s.checked[hash]
	if err == nil && then != nil && unchanged(then, now) {
		return true
	}
	delete(s.checked, hash)
	return false
}

var errChanges = errors.New("the file was changed while it was read")

// inspect reads a file that was found at a path, and tells whether it is an image, which can be executed.
func inspect(path string, found fs.FileInfo, hash string) (bool, error) {
	if !found.Mode().IsRegular() || runtime.GOOS != "windows" && found.Mode().Perm()&0o500 != 0o500 {
		return false, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return false, err
	}
	now, err := file.Stat()
	if err == nil && !unchanged(found, now) {
		err = errChanges
	}
	return hex.EncodeToString(sum.Sum(nil)) == hash, err
}

// unchanged tells whether a file is the same, and has the same content. Whoever writes to it can set back its time, but
// not changedAt, where there is one.
func unchanged(then, now fs.FileInfo) bool {
	return os.SameFile(then, now) && then.Size() == now.Size() && then.Mode() == now.Mode() &&
		then.ModTime().Equal(now.ModTime()) && changedAt(then).Equal(changedAt(now))
}
