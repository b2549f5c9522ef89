package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// ListenUnix returns a listener at a socket in the file system, which its owner
// alone may connect to. A socket that nobody listens at any more is replaced.
func ListenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("node: %s is there, and is no socket", path)
		}
		conn, err := net.Dial("unix", path)
		switch {
		case err == nil:
			_ = conn.Close()
			return nil, fmt.Errorf("node: somebody listens at %s already", path)
		case errors.Is(err, syscall.ECONNREFUSED):
			_ = os.Remove(path)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	// Whoever connects before this is asked who they are, as everybody is.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("node: %w", err)
	}
	return l, nil
}
