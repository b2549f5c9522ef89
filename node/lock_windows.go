package node

import "os"

// lockFile opens a file; that one node at a time has it is not seen to here.
func lockFile(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) }
