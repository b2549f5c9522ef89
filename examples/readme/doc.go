// Package readme tests that the programs in the README are what they claim to
// be: complete, and printing what stands below them.
package readme
