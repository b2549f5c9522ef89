//go:build unix

package launch

import (
	"os"

	"golang.org/x/sys/unix"
)

// firstStandard is the least number that standard streams are moved to.
const firstStandard = 10

// takeStandard moves the standard input and output away.
func takeStandard() (in, out *os.File, err error) {
	var moved [2]int
	for fd := range moved {
		to, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstStandard)
		if err != nil {
			return nil, nil, os.NewSyscallError("fcntl", err)
		}
		if err := unix.SetNonblock(to, true); err != nil {
			return nil, nil, os.NewSyscallError("fcntl", err)
		}
		moved[fd] = to
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	if err := duplicate(int(null.Fd()), 0); err != nil {
		return nil, nil, err
	}
	if err := duplicate(2, 1); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(moved[0]), "link"), os.NewFile(uintptr(moved[1]), "link"), nil
}
