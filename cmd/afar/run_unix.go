//go:build unix

package main

import (
	"os"
	"syscall"
)

// passed are the signals that go to a program that runs elsewhere.
var passed = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}

// become runs a program in this one's place.
func become(path string, args []string) error {
	return &os.PathError{Op: "exec", Path: path, Err: syscall.Exec(path, append([]string{path}, args...), os.Environ())}
}

// signalNumber is the number of a signal by its name.
func signalNumber(name string) int {
	for n := syscall.Signal(1); n < 32; n++ {
		if n.String() == name {
			return int(n)
		}
	}
	return 0
}
