package ship

import (
	"io/fs"
	"syscall"
	"time"
)

// usedAt is when a file was last used, or made.
func usedAt(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if at := time.Unix(st.Atim.Unix()); at.After(info.ModTime()) {
			return at
		}
	}
	return info.ModTime()
}

// changedAt is when a file, or what the system knows of it, was changed last. Nobody can set it.
func changedAt(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return time.Time{}
}
