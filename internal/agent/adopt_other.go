//go:build !linux

package agent

// adopt does nothing: only Linux lets a process become the parent of others' children.
func adopt() {}

// endAdopted has nothing to end.
func endAdopted() {}
