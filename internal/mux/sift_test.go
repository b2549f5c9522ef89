package mux

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
)

// What is sifted out is seen as it arrives, in its order, is not received, and costs
// the sender no credit in the end.
func TestSift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		sendText(t, near, "!early")
		var seen []string
		far.Sift(func(item []byte) bool {
			seen = append(seen, string(item[:min(len(item), 6)]))
			return item[0] == '!'
		})
		sendText(t, near, "1", "!a", "2", "3", "!b", "!c", "4")
		if want := "[!early 1 !a 2 3 !b !c 4]"; fmt.Sprint(seen) != want {
			t.Errorf("%v, want %s", seen, want)
		}
		recvText(t, far, "1", "2", "3", "4")
		for _, size := range []int{10, smallItem + 1, 100_000} {
			seen = nil
			for range 2*DefaultWindow/size + 1 {
				if err := near.Send(t.Context(), []byte("!"), bytes.Repeat([]byte("x"), size)); err != nil {
					t.Fatal(err)
				}
				if err := near.Send(t.Context(), []byte("y"), nil); err != nil {
					t.Fatal(err)
				}
				recvText(t, far, "y")
			}
			synctest.Wait()
			if n := 2 * (2*DefaultWindow/size + 1); len(seen) != n {
				t.Errorf("%d bytes: %d items were seen, want %d", size, len(seen), n)
			}
		}
		if s := far.State(); s.Unread != 0 || s.Held != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Granted waits for Grant, however little the stream was opened with.
func TestGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := openedWith(t, a, b, StreamOptions{Credit: 50_000})
		granted := make(chan error, 1)
		go func() { granted <- far.Granted(context.Background()) }()
		sendText(t, far, "1")
		recvText(t, near, "1")
		synctest.Wait()
		if len(granted) > 0 {
			t.Error("nobody has called Grant")
		}
		near.Grant()
		if err := <-granted; err != nil {
			t.Error(err)
		}
		if err := near.Granted(t.Context()); err != nil { // which began with a window
			t.Error(err)
		}
		_, far = openedWith(t, a, b, StreamOptions{Credit: itemCost})
		go func() { granted <- far.Granted(context.Background()) }()
		synctest.Wait()
		far.Finish(nil)
		if err := <-granted; err == nil {
			t.Error("granted by nobody")
		}
	})
}
