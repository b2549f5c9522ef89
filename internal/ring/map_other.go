//go:build !linux

package ring

import (
	"errors"
	"os"
)

// New says that there is no shared memory here: links do without.
func New() (*Memory, *os.File, error) { return nil, nil, errors.ErrUnsupported }

// Open says the same.
func Open(uintptr) (*Memory, error) { return nil, errors.ErrUnsupported }
