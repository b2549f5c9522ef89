package launch

import (
	"os"
	"syscall"
)

// spinner only reads: the Unix one decides whether to stay awake for what comes next.
type spinner struct{}

func (*spinner) readPolled(in *os.File, _ syscall.RawConn, p []byte) (int, error) { return in.Read(p) }
