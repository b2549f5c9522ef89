package launch

import "golang.org/x/sys/unix"

// vectorMax is how many buffers one writev(2) takes (IOV_MAX).
const vectorMax = 1024

func writev(fd int, bufs [][]byte) (int, error) {
	return unix.Writev(fd, bufs[:min(len(bufs), vectorMax)])
}
