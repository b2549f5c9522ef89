package launch

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	selfExe = "/proc/self/exe"

	// imageDescriptor is the least number of the image's descriptor. It is out of the way of those that a worker
	// gets, and still within a process' first table of 64.
	imageDescriptor = 48
)

func openImage() *image {
	m := &image{path: selfExe}
	fd, err := unix.Open(selfExe, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		// Without /proc, or with an executable that may be run but not read, the path is what remains.
		return m.fallBack(err)
	}
	if high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, imageDescriptor); err == nil {
		_ = unix.Close(fd)
		fd = high
	}
	m.file = os.NewFile(uintptr(fd), selfExe)
	m.identify(m.file)
	return m
}

// fallBack remembers the path of the executable, when it could not be opened for the reason given.
func (m *image) fallBack(reason error) *image {
	info, err := os.Stat(selfExe)
	if err != nil {
		if path, err := os.Executable(); err == nil {
			m.path = path
		}
		info, err = os.Stat(m.path)
	}
	if err != nil {
		m.err = fmt.Errorf("afar: identify the running image: %w", reason)
		return m
	}
	m.id, m.err = fileID(nil, info)
	return m
}

// executable returns a path that starts the image in a child which gets the given descriptors.
//
// It prefers the image's descriptor, which stands for the file whatever happens to its name. While the child sorts
// its descriptors it may move some to the numbers just above the highest of them (see forkAndExecInChild in package
// syscall), and would then execute a pipe: in that case, and when there is no descriptor, it is /proc/self/exe,
// which the child, not yet another program, has in common with its parent.
func (m *image) executable(childs ...*os.File) string {
	if m.file == nil {
		return m.path
	}
	highest := len(childs)
	for _, f := range childs {
		highest = max(highest, int(f.Fd()))
	}
	fd := int(m.file.Fd())
	if fd < len(childs) || fd > highest && fd <= highest+len(childs)+2 {
		return selfExe
	}
	return "/proc/self/fd/" + strconv.Itoa(fd)
}
