package mux

import (
	"testing"
	"testing/synctest"
)

// TrySend sends what nothing is to be waited for, and nothing else.
func TestTrySend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		if !near.TrySend([]byte("he"), []byte("llo")) {
			t.Error("not sent")
		}
		recvText(t, far, "hello")
		if near.TrySend(nil, make([]byte, directWrite)) {
			t.Error("a large one is sent")
		}
		n := 0
		for near.TrySend(nil, make([]byte, 10_000)) {
			n++
			synctest.Wait()
		}
		if n == 0 || n > DefaultWindow/10_000 {
			t.Errorf("%d items are sent", n)
		}
		near.Finish(nil)
		if near.TrySend(nil, []byte("late")) {
			t.Error("sent after the end")
		}
	})
}
