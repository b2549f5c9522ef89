//go:build unix && !linux

package launch

import "golang.org/x/sys/unix"

// replace makes fd another descriptor of from's file.
func replace(from, fd int) error {
	if err := unix.Dup2(from, fd); err != nil {
		return err
	}
	unix.CloseOnExec(fd)
	return nil
}
