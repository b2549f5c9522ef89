//go:build !linux

package main

import "fmt"

// distant is a host with an sshd, for which there must be namespaces.
type distant struct{}

var errNoHost = fmt.Errorf("%w: hosts need Linux's namespaces", errAbsent)

func (*distant) target(bool) (string, error)        { return "", errNoHost }
func (*distant) ssh(bool, string) ([]string, error) { return nil, errNoHost }
func (*distant) forget() error                      { return errNoHost }
func (*distant) close() error                       { return nil }
