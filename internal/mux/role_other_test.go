//go:build !unix

package mux

// playRole is for benchmarks, which there are none of here.
func playRole() {}
