//go:build unix && !linux

package launch

import (
	"os"

	"golang.org/x/sys/unix"
)

func duplicate(from, to int) error { return os.NewSyscallError("dup2", unix.Dup2(from, to)) }
