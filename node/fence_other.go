//go:build !linux

package node

import (
	"log/slog"
	"os/exec"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/trust"
)

// fences makes limits for callers. There are none here but for the number of workers.
type fences struct{}

func openFences(string, bool, *slog.Logger) *fences { return &fences{} }

func (*fences) close() error { return nil }

// fence is the limits of a caller.
type fence struct{}

func (*fences) around(string) *fence { return &fence{} }

func (*fence) renew(grant trust.Grant) []string { return describe(grant, byGoal, byGoodwill) }

func (*fence) close() error                    { return nil }
func (*fence) cell(trust.Grant) (*cell, error) { return &cell{}, nil }

// cell is the limits around one process.
type cell struct{}

func (*cell) adjust(*exec.Cmd) {}
func (*cell) hold(int) error   { return nil }
func (*cell) end(*launch.Exit) {}
