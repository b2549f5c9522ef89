//go:build !linux

package launch

import (
	"fmt"
	"os"
)

// openImage records where the executable was when the process began. The file is not held open, because these
// systems cannot execute a descriptor; the identity tells when another file has taken its place.
func openImage() *image {
	m := &image{}
	if m.path, m.err = os.Executable(); m.err != nil {
		m.err = fmt.Errorf("afar: find the running image: %w", m.err)
		return m
	}
	file, err := os.Open(m.path)
	if err != nil {
		m.err = fmt.Errorf("afar: identify the running image: %w", err)
		return m
	}
	defer file.Close()
	m.identify(file)
	return m
}

func (m *image) executable(...*os.File) string { return m.path }
