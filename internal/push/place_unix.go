//go:build unix

package push

import (
	"fmt"
	"io/fs"
	"syscall"
)

// identity tells the directories of a machine apart.
func identity(fi fs.FileInfo, path string) string {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	}
	return path
}
