//go:build !linux

package ship

import (
	"io/fs"
	"time"
)

// usedAt is when a file was made: the time of its last use is not told in one way by these systems.
func usedAt(info fs.FileInfo) time.Time { return info.ModTime() }
