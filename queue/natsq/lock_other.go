//go:build !unix || solaris || illumos || aix

package natsq

import "os"

// lockFile opens a file; that one Broker at a time has it is not seen to here.
func lockFile(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) }
