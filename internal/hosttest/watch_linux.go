package hosttest

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// enough is how long Watch waits; processes that end do so long before.
const enough = 60 * time.Second

// Watch returns a function that waits until a process, which runs now, has ended; a test whose process does not end
// fails.
func Watch(t testing.TB, pid int) (gone func()) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return func() {}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return func() {
		t.Helper()
		for deadline := time.Now().Add(enough); ; {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
			switch {
			case n > 0:
				return
			case err != nil && err != unix.EINTR:
				t.Fatal(err)
			case time.Now().After(deadline):
				t.Fatalf("process %d is still there", pid)
			}
		}
	}
}
