package launch

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeInherited closes the descriptors that survived the exec and are not the worker's business. Only those lack
// close-on-exec: the link has it by now, and so has the directory that is read here.
func closeInherited() {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return // Without /proc they cannot be found.
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd <= 2 {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

// takeName gives the process the name that its arguments have. The kernel named it for the path that was executed,
// so that process lists, and the kernel's own log, would call it by the number of a descriptor.
func takeName() {
	if len(os.Args) == 0 {
		return
	}
	fd, err := unix.Open("/proc/self/comm", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return // It is only a name.
	}
	_, _ = unix.Write(fd, []byte(filepath.Base(os.Args[0]))) // The kernel cuts it to 15 bytes.
	_ = unix.Close(fd)
}

// niceness returns the calling thread's, which at the start is that of all threads. The system call returns 20 minus
// the niceness, so that it is never negative.
func niceness() (int, error) {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	return 20 - raw, err
}
