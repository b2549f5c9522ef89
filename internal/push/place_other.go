//go:build !unix

package push

import (
	"io/fs"
	"path/filepath"
)

// identity tells the directories of a machine apart.
func identity(_ fs.FileInfo, path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}
