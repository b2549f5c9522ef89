package hosttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Image is this test binary, built so that it runs on any host: with the race detector, or with cgo, it does not. It is
// built once. Its file has no name, so that nothing is left of it; its path is that of the descriptor in /proc.
var Image = sync.OnceValues(func() (*os.File, error) {
	dir, err := os.MkdirTemp("", "afar-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "image")
	cmd := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.Open(path)
})
