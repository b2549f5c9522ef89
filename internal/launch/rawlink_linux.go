package launch

import "golang.org/x/sys/unix"

// replace makes fd another descriptor of from's file.
func replace(from, fd int) error { return unix.Dup3(from, fd, unix.O_CLOEXEC) }
