package main

import (
	"os"
	"testing"
)

// TestDisturbance checks that the shares are possible ones; whose they are is up to the machine.
func TestDisturbance(t *testing.T) {
	if _, err := os.Stat("/proc/stat"); err != nil {
		t.Skip("this system has no /proc/stat")
	}
	others := watchOthers()
	first, ok := readClock()
	if !ok {
		t.Fatal("the clock cannot be read")
	}
	second := first
	for second.total == first.total {
		task{Rounds: 1000}.work()
		second, _ = readClock()
	}
	if second.busy < first.busy || second.own <= first.own {
		t.Errorf("time ran from %+v to %+v", first, second)
	}
	if d := others(); !d.known || d.share < 0 || d.share > 1.5 {
		t.Errorf("others had %v", d)
	}
	if got := (disturbance{share: 0.123, known: true}).String(); got != "12 %" {
		t.Errorf("got %q", got)
	}
}
