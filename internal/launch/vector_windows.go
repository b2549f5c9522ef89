package launch

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// vectorWriter writes several buffers to a file, one after the other: pipes have no gathering write here.
type vectorWriter struct{ file *os.File }

func (v *vectorWriter) init(file *os.File) error {
	v.file = file
	return nil
}

func (v *vectorWriter) write(bufs [][]byte) error {
	for _, b := range bufs {
		if len(b) == 0 {
			continue
		}
		if _, err := v.file.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func brokenPipe(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}
