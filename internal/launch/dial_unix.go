//go:build unix

package launch

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// dialUnix connects to a socket in the file system. Package net would do the same, and is a megabyte of a program that
// needs nothing else of it.
func dialUnix(_ context.Context, path string) (Link, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	// A connection to a local socket is there at once, or fails; or, when many wait, it waits to be the next.
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), path)
	return newFileLink(file, file, nil)
}
