package afar_test

import (
	"context"
	"testing"

	"github.com/afar-go/afar"
	"golang.org/x/sys/unix"
)

var niceness = afar.Func(readNiceness)

func readNiceness(context.Context, struct{}) (int, error) {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	return 20 - raw, err
}

// A nice worker is nicer than the caller.
func TestTargetNice(t *testing.T) {
	own, err := readNiceness(context.Background(), struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := niceness.On(open(t, "local:1?nice=3"))(within(t), struct{}{})
	if err != nil || got != own+3 {
		t.Errorf("%d, %v, and the caller has %d", got, err, own)
	}
}
