//go:build unix

package afar_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/afar-go/afar"
	"golang.org/x/sys/unix"
)

// alive tells whether a process is there.
func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

// Line 39: Death of a peer known in a stated time. The worker does not even end:
// it is stopped, so that nothing but its silence can tell.
func TestParity39DeathOfAPeer(t *testing.T) {
	d := newDesk(t)
	pool := openWith(t, afar.Config{Keepalive: 200 * time.Millisecond}, "local:1")
	failed := make(chan error, 1)
	go func() {
		_, err := waitAt.On(afar.With(pool, afar.Policy{MaxAttempts: 1}))(within(t), visit{Desk: d.addr()})
		failed <- err
	}()
	v := d.next(t)
	if err := unix.Kill(v.pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var lost *afar.WorkerLostError
	if err := receive(t, failed); !errors.As(err, &lost) || lost.Reason == "" || lost.PID != v.pid {
		t.Errorf("%v", err)
	}
	v.gone(t)
	if out, err := square.On(pool)(context.Background(), 3); err != nil || out != 9 {
		t.Errorf("afterwards: %d, %v", out, err)
	}
}
