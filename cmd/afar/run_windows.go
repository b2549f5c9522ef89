package main

import (
	"errors"
	"os"
	"os/exec"
)

// passed are the signals that go to a program that runs elsewhere.
var passed = []os.Signal{os.Interrupt}

// become runs a program, and ends with it.
func become(path string, args []string) error {
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return programExit(exit.ExitCode())
	}
	return err
}

// signalNumber is the number of a signal by its name.
func signalNumber(name string) int {
	for n, known := range map[int]string{2: "interrupt", 9: "killed", 15: "terminated"} {
		if known == name {
			return n
		}
	}
	return 0
}
