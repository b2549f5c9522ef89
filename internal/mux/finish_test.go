package mux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/wire"
)

// finished checks that an error is the far side's last word.
func finished(t *testing.T, what string, err error, payload string) {
	t.Helper()
	var f *Finished
	if !errors.As(err, &f) || string(f.Payload) != payload {
		t.Errorf("%s: %v, want Finished with %q", what, err, payload)
	}
}

func TestFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		if err := far.Send(t.Context(), nil, []byte("nobody receives this")); err != nil {
			t.Fatal(err)
		}
		want := [][]byte{[]byte("one"), nil, content("", 200_000), []byte("four")}
		for _, item := range want {
			if err := near.Send(t.Context(), nil, item); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		payload := []byte("done")
		near.Finish(payload)
		payload[0] = 'X'
		near.Finish([]byte("again"))
		near.Reset("again")
		near.End()
		synctest.Wait()
		finished(t, "Send", far.Send(t.Context(), nil, nil), "done")
		finished(t, "Ready", far.Ready(t.Context()), "done")
		finished(t, "Err", far.Err(), "done")
		for _, item := range want {
			if got, err := far.Recv(t.Context()); err != nil || !bytes.Equal(got, item) {
				t.Errorf("%d bytes, %v, want %d", len(got), err, len(item))
			}
		}
		for range 2 {
			_, err := far.Recv(t.Context())
			finished(t, "Recv", err, "done")
		}
		far.Finish([]byte("me too"))
		if _, err := near.Recv(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Recv here: %v", err)
		}
		if err := near.Send(t.Context(), nil, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Send here: %v", err)
		}
		if err := near.Err(); !errors.Is(err, ErrClosed) {
			t.Errorf("Err here: %v", err)
		}
		if a.Err() != nil || b.Err() != nil {
			t.Errorf("the link ended: %v, %v", a.Err(), b.Err())
		}
	})
}

// A sender that waits for credit, before an item or inside one, is told at once.
func TestFinishWhileTheFarSideSends(t *testing.T) {
	for _, size := range []int{100, 20_000, 300_000} {
		synctest.Test(t, func(t *testing.T) {
			c := quiet()
			c.Window = 10_000
			a, b := pair(t, c)
			near, far := opened(t, a, b)
			sent := make(chan error, 1)
			go func() {
				for {
					if err := far.Send(t.Context(), nil, make([]byte, size)); err != nil {
						sent <- err
						return
					}
				}
			}()
			synctest.Wait()
			if !far.State().Waiting {
				t.Error("nobody waits for credit")
			}
			near.Finish([]byte("enough"))
			finished(t, "Send", <-sent, "enough")
			synctest.Wait()
			if n := a.parcels.Load(); n != 0 {
				t.Errorf("%d parcels", n)
			}
			books := far.State()
			if books.Waiting {
				t.Error("somebody waits for credit")
			}
		})
	}
}

// Finish of a sender that is inside an item cuts it off.
func TestFinishInsideAnItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		if err := near.Send(t.Context(), nil, []byte("whole")); err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() { sent <- near.Send(t.Context(), nil, make([]byte, 2*DefaultWindow)) }()
		synctest.Wait()
		near.Finish([]byte("done"))
		if err := <-sent; !errors.Is(err, ErrClosed) {
			t.Errorf("Send gave %v", err)
		}
		if item, err := far.Recv(t.Context()); err != nil || string(item) != "whole" {
			t.Errorf("%q, %v", item, err)
		}
		_, err := far.Recv(t.Context())
		finished(t, "after it", err, "done")
		if n := b.parcels.Load(); n != 0 {
			t.Errorf("%d parcels", n)
		}
	})
}

// The stream is not over when both sides have said End: one says how it ends.
func TestFinishAfterBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		near.End()
		far.End()
		for _, st := range []*Stream{near, far} {
			if _, err := st.Recv(t.Context()); err != io.EOF {
				t.Errorf("Recv gave %v", err)
			}
			if err := st.Send(t.Context(), nil, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("Send gave %v", err)
			}
			if st.Err() != nil {
				t.Errorf("over: %v", st.Err())
			}
		}
		far.Finish([]byte("done"))
		<-near.Done()
		finished(t, "Err", near.Err(), "done")
		if _, err := near.Recv(t.Context()); err != io.EOF {
			t.Errorf("Recv gave %v", err)
		}
	})
}

func TestBothFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		near.Finish([]byte("near"))
		far.Finish([]byte("far")) // they cross
		synctest.Wait()
		for _, st := range []*Stream{near, far} {
			if err := st.Err(); !errors.Is(err, ErrClosed) {
				t.Errorf("ended with %v", err)
			}
		}
		if a.Err() != nil || b.Err() != nil {
			t.Errorf("the link ended: %v, %v", a.Err(), b.Err())
		}
	})
}

func TestFinishOverTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			near.Finish(make([]byte, MaxFinish+1))
		}()
		near.Finish(make([]byte, MaxFinish))
		<-far.Done()
		finished(t, "Err", far.Err(), string(make([]byte, MaxFinish)))
	})
}

// Done is closed, and Err says why, before anybody is told of the end otherwise.
func TestDone(t *testing.T) {
	for name, cut := range map[string]func(st *Stream){
		"finish": func(st *Stream) { st.Finish(nil) },
		"reset":  func(st *Stream) { st.Reset("enough") },
		"close":  func(st *Stream) { _ = st.session.Close() },
	} {
		for _, early := range []bool{true, false} { // somebody has asked before
			synctest.Test(t, func(t *testing.T) {
				a, b := pair(t, quiet())
				near, far := opened(t, a, b)
				if err := near.Send(t.Context(), nil, []byte("there")); err != nil {
					t.Fatal(err)
				}
				near.End()
				synctest.Wait()
				if early {
					for _, st := range []*Stream{near, far} {
						select {
						case <-st.Done():
							t.Errorf("%s: done already", name)
						default:
						}
						if st.Err() != nil {
							t.Errorf("%s: %v", name, st.Err())
						}
					}
				}
				failed := make(chan error, 1)
				go func() {
					_, err := near.Recv(context.Background())
					select {
					case <-near.Done():
					default:
						t.Errorf("%s: Recv gave %v before the end", name, err)
					}
					failed <- err
				}()
				synctest.Wait()
				cut(far)
				<-near.Done()
				<-far.Done()
				if near.Err() == nil || far.Err() == nil || <-failed != near.Err() {
					t.Errorf("%s: %v, %v", name, near.Err(), far.Err())
				}
				item, err := far.Recv(t.Context())
				if name == "finish" && !errors.Is(err, ErrClosed) || name != "finish" && string(item) != "there" {
					t.Errorf("%s: what had arrived: %q, %v", name, item, err)
				}
			})
		}
	}
}

// A stream that both sides finish at once, or that one resets, leaves nothing.
func TestStreamsThatAreOverAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := quiet()
		c.MaxStreams = 2
		a, b := pair(t, c)
		for range 50 {
			near, far := opened(t, a, b)
			go near.Finish(nil)
			go far.Finish(nil)
			synctest.Wait()
			near, far = opened(t, a, b)
			other, _ := opened(t, a, b)
			far.Reset("no")
			<-near.Done()
			near, far = opened(t, a, b)
			near.Reset("no")
			<-far.Done()
			other.Finish(nil)
			synctest.Wait()
		}
		for _, e := range []*end{a, b} {
			if n := len(e.Session.streams); n != 0 || e.theirs != 0 || e.writer.over != 0 {
				t.Errorf("%d streams are left, %d of the other's, %d over", n, e.theirs, e.writer.over)
			}
		}
	})
}

// The frames of items, credit and the end keep their order whoever writes them.
func TestFinishComesBehindLargeItems(t *testing.T) {
	a, b := pair(t, quiet())
	for range 100 {
		near, err := a.Open([]byte("test"), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		far := b.streams.take()
		for range 3 {
			if err := near.Send(t.Context(), []byte("head"), make([]byte, wire.MaxFrame)); err != nil {
				t.Fatal(err)
			}
		}
		near.Finish([]byte("done"))
		for n := 0; ; n++ {
			item, err := far.Recv(t.Context())
			if err != nil {
				finished(t, "Recv", err, "done")
				if n != 3 {
					t.Errorf("%d items", n)
				}
				break
			}
			if len(item) != 4+wire.MaxFrame {
				t.Errorf("%d bytes", len(item))
			}
		}
	}
}
