//go:build unix && !linux

package launch

import "golang.org/x/sys/unix"

// writev writes the first buffer only, which its caller takes for a partial write: x/sys has no writev here.
func writev(fd int, bufs [][]byte) (int, error) { return unix.Write(fd, bufs[0]) }
