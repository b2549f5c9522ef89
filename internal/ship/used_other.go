//go:build !linux

package ship

import (
	"io/fs"
	"time"
)

// usedAt is when a file was made: the time of its last use is not told in one way by these systems.
func usedAt(info fs.FileInfo) time.Time { return info.ModTime() }

// changedAt is the same for all files: these systems do not tell in one way when one was changed last.
func changedAt(fs.FileInfo) time.Time { return time.Time{} }
