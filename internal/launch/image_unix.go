//go:build unix

package launch

import (
	"fmt"
	"os"
	"syscall"
)

// fileID identifies a file by what stat says of it.
func fileID(_ *os.File, info os.FileInfo) (string, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("no inode of %s", info.Name())
	}
	return fmt.Sprintf("%d:%d:%d:%d", st.Dev, st.Ino, info.Size(), info.ModTime().UnixNano()), nil
}
