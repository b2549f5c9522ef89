//go:build unix

package trust

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives file the owner that info tells of, so that a change by root
// does not lock out the user whose file it is. Others cannot, and need not.
func keepOwner(file *os.File, info fs.FileInfo) {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = file.Chown(int(stat.Uid), int(stat.Gid))
	}
}
