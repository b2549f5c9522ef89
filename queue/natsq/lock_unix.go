//go:build unix && !solaris && !illumos && !aix

package natsq

import (
	"errors"
	"os"
	"syscall"
)

// lockFile makes a file that one Broker at a time can have, until it is closed.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("another embedded server uses this directory")
		}
		return nil, err
	}
	return f, nil
}
