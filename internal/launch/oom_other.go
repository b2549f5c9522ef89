//go:build !linux

package launch

// memoryWatch knows nothing here: these systems do not say which process they killed for want of memory.
type memoryWatch struct{}

func watchMemory() *memoryWatch { return nil }

func (*memoryWatch) blames(int) bool { return false }

func (*memoryWatch) close() {}
