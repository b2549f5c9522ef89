package ring

import (
	"os"

	"golang.org/x/sys/unix"
)

// New returns memory to share with a child, and the file by which the child finds
// it, which the caller closes. The memory has no name, and takes up room as it is
// used for the first time.
func New() (*Memory, *os.File, error) {
	fd, err := unix.MemfdCreate("afar", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "memory")
	err = os.NewSyscallError("ftruncate", unix.Ftruncate(fd, 2*length))
	if err == nil {
		// Nobody can make it smaller, and so our access to it a fault.
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
		err = os.NewSyscallError("fcntl", err)
	}
	if err == nil {
		var m *Memory
		if m, err = mapped(fd, true); err == nil {
			return m, file, nil
		}
	}
	_ = file.Close()
	return nil, nil, err
}

// Open returns the child's end. The descriptor is the caller's to close.
func Open(fd uintptr) (*Memory, error) { return mapped(int(fd), false) }

func mapped(fd int, first bool) (*Memory, error) {
	all, err := unix.Mmap(fd, 0, 2*length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return newMemory(all, first, func() { _ = unix.Munmap(all) }), nil
}
