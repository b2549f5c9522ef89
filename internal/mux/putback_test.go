package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
)

func sendText(t *testing.T, st *Stream, items ...string) {
	t.Helper()
	for _, item := range items {
		if err := st.Send(t.Context(), []byte(item), nil); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
}

func recvText(t *testing.T, st *Stream, want ...string) {
	t.Helper()
	for _, w := range want {
		if item, err := st.Recv(t.Context()); err != nil || string(item) != w {
			t.Fatalf("%q, %v, want %q", item, err, w)
		}
	}
}

// What was put back comes first, also to who waits already, and counts as held.
func TestPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		sendText(t, near, "1", "2", "3", "4")
		recvText(t, far, "1", "2")
		before := far.State().Held
		for _, item := range []string{"1", "2"} {
			if !far.PutBack([]byte(item)) {
				t.Error("too late")
			}
		}
		if s := far.State(); s.Held-before != 2*(1+itemCost) || s.Unread != 4 {
			t.Errorf("%+v of what was put back", s)
		}
		recvText(t, far, "1", "2", "3", "4")
		if s := far.State(); s.Held != 0 || s.Unread != 0 {
			t.Errorf("%+v", s)
		}

		got := make(chan string, 1)
		go func() {
			item, err := far.Recv(context.Background())
			got <- fmt.Sprint(string(item), err)
		}()
		synctest.Wait()
		far.PutBack([]byte("again"))
		if s := <-got; s != "again<nil>" {
			t.Error(s)
		}
		// No credit came of it: the window is as large as ever.
		big := make([]byte, DefaultWindow/4)
		for range 20 {
			if err := near.Send(t.Context(), big, nil); err != nil {
				t.Fatal(err)
			}
			item, err := far.Recv(t.Context())
			if err != nil || !far.PutBack(item) {
				t.Fatal(err)
			}
			if _, err := far.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// After the end items can be put back until somebody was told that no more come.
func TestPutBackAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, end := range map[string]func(near *Stream){"end": (*Stream).End, "finish": func(s *Stream) { s.Finish([]byte("x")) }} {
			a, b := pair(t, quiet())
			near, far := opened(t, a, b)
			sendText(t, near, "1")
			end(near)
			recvText(t, far, "1")
			synctest.Wait()
			if !far.PutBack([]byte("1")) {
				t.Errorf("%s: too late", name)
			}
			recvText(t, far, "1")
			var finished *Finished
			if _, err := far.Recv(t.Context()); err != io.EOF && !errors.As(err, &finished) {
				t.Errorf("%s: %v", name, err)
			}
			if far.PutBack([]byte("1")) {
				t.Errorf("%s: not too late", name)
			}
			if near.PutBack([]byte("1")) == (name == "finish") {
				t.Errorf("%s: put back where it was dropped", name)
			}
			far.Finish(nil)
		}
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		sendText(t, near, "1")
		recvText(t, far, "1")
		far.PutBack([]byte("1"))
		far.Shut(errShut)
		if _, err := far.Recv(t.Context()); err != errShut || far.PutBack([]byte("1")) || far.State().Held != 0 {
			t.Error(err)
		}
	})
}

// Who does not want an item leaves it to the next, put back or not.
func TestTakeIf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		no, yes := func() bool { return false }, func() bool { return true }
		asked := make(chan error, 1)
		go func() {
			_, _, err := far.TakeIf(context.Background(), no)
			asked <- err
		}()
		got := make(chan string, 1)
		synctest.Wait()
		go func() {
			item, _, _ := far.TakeIf(context.Background(), yes)
			got <- string(item)
			far.Release()
		}()
		synctest.Wait()
		sendText(t, near, "1")
		if err := <-asked; err != ErrUnwanted {
			t.Error(err)
		}
		if s := <-got; s != "1" {
			t.Errorf("%q", s)
		}
		far.PutBack([]byte("2"))
		if _, _, err := far.TakeIf(t.Context(), no); err != ErrUnwanted {
			t.Error(err)
		}
		recvText(t, far, "2")
	})
}

// Many take and put back, none is lost.
func TestPutBackUnderLoad(t *testing.T) {
	a, b := pair(t, quiet())
	near, far := opened(t, a, b)
	const n = 5000
	go func() {
		for i := range n {
			if err := near.Send(context.Background(), fmt.Append(nil, i), nil); err != nil {
				t.Error(err)
			}
		}
		near.End()
	}()
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				mu.Lock()
				all := len(seen) == n
				mu.Unlock()
				if all {
					return
				}
				item, err := far.Recv(context.Background())
				if err != nil {
					return
				}
				if i%3 == 0 && far.PutBack(item) {
					continue
				}
				mu.Lock()
				seen[string(item)]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != n {
		t.Errorf("%d of %d items", len(seen), n)
	}
}

// What is unread is so also where its credit was given back early, for who waits
// for a large item.
func TestUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		taken := make(chan int, 1)
		go func() {
			item, _, _ := far.Take(context.Background())
			taken <- len(item)
		}()
		synctest.Wait()
		go func() {
			for _, size := range []int{DefaultWindow * 5 / 4, 1000} {
				_ = near.Send(context.Background(), make([]byte, size), nil)
			}
			near.Finish(nil)
		}()
		<-taken
		synctest.Wait()
		if s := far.State(); s.Unread != 1 || s.Received != 2 {
			t.Errorf("%+v", s)
		}
		far.Release()
		if _, err := far.Recv(t.Context()); err != nil || far.State().Unread != 0 {
			t.Error(err, far.State())
		}
	})
}

// While items are borrowed nobody is told the end: those who receive wait until all
// are settled, or get what comes back.
func TestBorrow(t *testing.T) {
	for name, end := range map[string]func(near *Stream){"end": (*Stream).End, "finish": func(s *Stream) { s.Finish(nil) }} {
		synctest.Test(t, func(t *testing.T) {
			a, b := pair(t, quiet())
			near, far := opened(t, a, b)
			last := far.Last()
			sendText(t, near, "1", "2", "3")
			var lent []string
			for range 3 {
				item, _, err := far.Borrow(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				lent = append(lent, string(item))
				far.Release()
			}
			select {
			case <-last:
				t.Errorf("%s: more will come", name)
			default:
			}
			end(near)
			<-last
			<-far.Last()
			got := make(chan string, 2)
			for range cap(got) {
				go func() {
					for {
						item, err := far.Recv(context.Background())
						if got <- string(item); err != nil {
							return
						}
					}
				}()
			}
			synctest.Wait()
			if len(got) > 0 {
				t.Errorf("%s: %q while items are lent", name, <-got)
			}
			canceled, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := far.Recv(canceled); err != context.Canceled {
				t.Errorf("%s: %v", name, err)
			}
			if n := far.Settle(1); n != 2 || !far.PutBack([]byte(lent[1])) {
				t.Errorf("%s: %d are lent", name, n)
			}
			synctest.Wait()
			if s := <-got; s != "2" || len(got) > 0 {
				t.Errorf("%s: %q came back", name, s)
			}
			if n := far.Settle(5); n != 0 {
				t.Errorf("%s: %d are lent", name, n)
			}
			for range 2 {
				if s := <-got; s != "" {
					t.Errorf("%s: %q", name, s)
				}
			}
			far.Finish(nil)
		})
	}
	synctest.Test(t, func(t *testing.T) { // Shut and Finish here do not wait
		for _, end := range []func(*Stream){func(s *Stream) { s.Shut(errShut) }, func(s *Stream) { s.Finish(nil) }} {
			a, b := pair(t, quiet())
			near, far := opened(t, a, b)
			sendText(t, near, "1")
			if _, _, err := far.Borrow(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			far.Release()
			end(far)
			<-far.Last()
			if _, err := far.Recv(t.Context()); err == nil {
				t.Error("it goes on")
			}
			far.Finish(nil)
		}
	})
}
