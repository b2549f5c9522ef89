package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// held is an end, whose far side is a routine, and the link to a process that can
// hold it.
type held struct {
	*End
	t      *testing.T
	far    chan *End // the routine's end
	said   chan error
	owner  *peer.Conn
	holder *peer.Conn
}

// newHeld makes one; its routine returns what is sent on said, or when its context
// ends.
func newHeld(t *testing.T) *held {
	h := &held{t: t, far: make(chan *End, 1), said: make(chan error)}
	_, h.End = started(t, func(ctx context.Context, e *End) error {
		h.far <- e
		select {
		case err := <-h.said:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	a, b := launch.Pipe()
	lost := func(err error) error { return fmt.Errorf("the holder was cut: %w", err) }
	h.owner = peer.Dial(a, peer.Config{Callee: nobody{}, Initiator: true,
		Stream: func(s *mux.Stream, _ byte, _ *wire.Reader) error { return h.Hold(s, lost) }})
	h.holder = peer.Dial(b, peer.Config{Callee: nobody{}})
	for _, c := range []*peer.Conn{h.owner, h.holder} {
		c.Start()
	}
	for _, c := range []*peer.Conn{h.owner, h.holder} {
		if _, err := c.Hello(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = h.owner.Close()
		<-h.holder.Session().Done()
		h.owner.Wait(time.Minute)
		h.holder.Wait(time.Minute)
	})
	return h
}

// open opens a holder's stream and takes the welcome.
func (h *held) open() *mux.Stream {
	h.t.Helper()
	s, err := h.holder.Session().Open([]byte{wire.PurposeHandle}, mux.StreamOptions{Credit: handle.HolderCredit})
	if err != nil {
		h.t.Fatal(err)
	}
	if item, err := s.Recv(h.t.Context()); err != nil || len(item) != 0 {
		h.t.Fatalf("%q, %v in place of a welcome", item, err)
	}
	return s
}

func (h *held) bind() *End { return New(h.open(), Config{Kind: Holder, Name: "what is held"}) }

// lives checks that the channel is there, in both directions, for its owner.
func (h *held) lives(far *End) {
	h.t.Helper()
	say(h.t, h.End, "there?")
	hear(h.t, far, "there?")
	say(h.t, far, "here")
	hear(h.t, h.End, "here")
}

// onHeld runs a test with an end and the routine's.
func onHeld(t *testing.T, name string, test func(t *testing.T, h *held, far *End)) {
	bubble(t, name, func(t *testing.T) {
		h := newHeld(t)
		test(t, h, <-h.far)
	})
}

func mentions(text string) func(error) bool {
	return func(err error) bool { return strings.Contains(err.Error(), text) }
}

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func TestHolderShares(t *testing.T) {
	onHeld(t, "", func(t *testing.T, h *held, far *End) {
		first, second := h.bind(), h.bind()
		say(t, first, "a")
		say(t, h.End, "b")
		say(t, second, "c")
		synctest.Wait()
		var got []string
		for range 3 {
			item, err := take(t.Context(), far)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, item)
		}
		if slices.Sort(got); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("%q", got)
		}
		// Nobody but the owner wants to receive.
		say(t, far, "1")
		synctest.Wait()
		hear(t, h.End, "1")
		// A holder does, and gets what comes from then on.
		heard := make(chan string, 1)
		go func() {
			item, _ := take(context.Background(), second)
			heard <- item
		}()
		synctest.Wait()
		say(t, far, "2")
		if item := <-heard; item != "2" {
			t.Errorf("%q", item)
		}
		first.Close(nil)
		second.Close(nil)
		synctest.Wait()
		h.lives(far)
	})
}

// What a holder has not read when it closes comes back, before all else and in its
// order, also to who waits already.
func TestHolderGivesBack(t *testing.T) {
	for _, n := range []int{0, 1, 3, 50} {
		onHeld(t, fmt.Sprint(n, " read"), func(t *testing.T, h *held, far *End) {
			all := numbers(100)
			say(t, far, all[:60]...)
			e := h.bind()
			e.bound.wants.Do(func() { e.bound.pulls.Store(true); e.stream.Grant() })
			hear(t, e, all[:n]...)
			synctest.Wait()
			say(t, far, all[60:]...)
			closed := errors.New("enough")
			e.Close(closed)
			endsWith(t, e, is(closed))
			synctest.Wait()
			hear(t, h.End, all[n:]...)
			if !e.Closed() || e.Over() != true {
				t.Error("it is not given back")
			}
			h.lives(far)
		})
	}
	onHeld(t, "who waits", func(t *testing.T, h *held, far *End) {
		e := h.bind()
		waiting := make(chan error, 2)
		for range cap(waiting) {
			go func() {
				_, err := take(context.Background(), e)
				waiting <- err
			}()
		}
		synctest.Wait()
		closed := errors.New("enough")
		e.Close(closed)
		for range cap(waiting) {
			if err := <-waiting; err != closed {
				t.Error(err)
			}
		}
		synctest.Wait()
		h.lives(far)
	})
	onHeld(t, "all at a time", func(t *testing.T, h *held, far *End) {
		all := numbers(500)
		var holders []*End
		for range 5 {
			e := h.bind()
			e.bound.wants.Do(func() { e.bound.pulls.Store(true); e.stream.Grant() })
			holders = append(holders, e)
		}
		say(t, far, all...)
		synctest.Wait()
		got := map[string]int{}
		for i, e := range holders {
			for range min(i*10, e.State().Unread) { // which of them has how many is by chance
				item, err := take(t.Context(), e)
				if err != nil {
					t.Fatal(err)
				}
				got[item]++
			}
			go e.Close(nil)
		}
		synctest.Wait()
		for len(got) < len(all) {
			item, err := take(soon(t), h.End)
			if err != nil || got[item] > 0 {
				t.Fatal(len(got), got[item], err)
			}
			got[item]++
		}
		h.lives(far)
	})
}

// In a routine the handle is given back when that returns, and what was not read
// at once.
func TestHolderWithin(t *testing.T) {
	for name, cause := range map[string]error{"well": peer.ErrReturned, "failed": errors.New("it went wrong")} {
		onHeld(t, name, func(t *testing.T, h *held, far *End) {
			ctx, end := context.WithCancelCause(t.Context())
			e := h.bind()
			e.Within = ctx
			say(t, far, "1", "2", "3")
			hear(t, e, "1")
			say(t, e, "x")
			e.Close(ErrClosed)
			synctest.Wait()
			if e.Over() || e.Closed() {
				t.Error("the owner has heard of it")
			}
			endsWith(t, e, is(ErrClosed))
			hear(t, far, "x")
			hear(t, h.End, "2", "3")
			end(cause)
			e.Abandon(cause)
			synctest.Wait()
			if !e.Over() || !e.Closed() {
				t.Error("it is not given back")
			}
			if name == "well" {
				h.lives(far)
				return
			}
			endsWith(t, h.End, mentions("it went wrong"))
			endsWith(t, far, mentions("it went wrong"))
		})
	}
	onHeld(t, "all was said", func(t *testing.T, h *held, far *End) {
		e := h.bind()
		e.Within = t.Context()
		say(t, e, "x")
		e.CloseSend()
		e.Close(ErrClosed)
		if !e.Over() || !e.Closed() {
			t.Error("it is kept for nothing")
		}
		hear(t, far, "x")
	})
	onHeld(t, "over before", func(t *testing.T, h *held, _ *End) {
		e := h.bind()
		e.Within = t.Context()
		e.Close(ErrClosed)
		h.Close(ErrClosed)
		synctest.Wait()
		if !e.Closed() {
			t.Error("it is kept for nothing")
		}
	})
}

// What a holder was to say or to read and is missing ends the channel for
// everybody, with the reason.
func TestHolderIsMissed(t *testing.T) {
	failed := errors.New("it went wrong")
	use := map[string]func(t *testing.T, h *held, e, far *End){
		"nothing": func(*testing.T, *held, *End, *End) {},
		"sent":    func(t *testing.T, _ *held, e, far *End) { say(t, e, "x"); hear(t, far, "x") },
		"read":    func(t *testing.T, _ *held, e, far *End) { say(t, far, "x"); hear(t, e, "x") },
		"sent all": func(t *testing.T, _ *held, e, far *End) {
			say(t, e, "x")
			e.CloseSend()
			hear(t, far, "x")
		},
	}
	goes := map[string]func(h *held, e *End){
		"it went wrong":      func(_ *held, e *End) { e.Abandon(failed) },
		"the holder was cut": func(h *held, _ *End) { h.holder.Session().Fail(errors.New("killed")) },
	}
	for does, use := range use {
		for reason, leave := range goes {
			onHeld(t, does+", "+reason, func(t *testing.T, h *held, far *End) {
				e := h.bind()
				use(t, h, e, far)
				synctest.Wait() // its last word has arrived
				leave(h, e)
				synctest.Wait()
				if does == "sent all" {
					if _, err := take(t.Context(), far); err != io.EOF || h.Over() {
						t.Errorf("%v, %v", err, h.stream.Err())
					}
					return
				}
				endsWith(t, h.End, mentions(reason))
				endsWith(t, h.End, is(ErrClosed))
				endsWith(t, far, mentions(reason))
			})
		}
	}
	onHeld(t, "left items behind", func(t *testing.T, h *held, far *End) {
		s := h.open()
		s.Grant()
		say(t, far, "1", "2", "3")
		synctest.Wait()
		s.Finish((&wire.Ending{Taken: 1}).Append(nil))
		synctest.Wait()
		endsWith(t, h.End, mentions("2 items unread"))
		endsWith(t, far, mentions("2 items unread"))
	})
	onHeld(t, "closed while it sent", func(t *testing.T, h *held, far *End) {
		e := h.bind()
		say(t, far, "1")
		hear(t, e, "1")
		sending := make(chan error, 1)
		go func() {
			for {
				if err := e.Send(context.Background(), nil, make([]byte, 10_000)); err != nil {
					sending <- err
					return
				}
			}
		}()
		synctest.Wait()
		closed := errors.New("enough")
		e.Close(closed)
		if err := <-sending; err != closed {
			t.Error(err)
		}
	})
}

// How the channel ends elsewhere reaches a holder, behind the items.
func TestHolderHears(t *testing.T) {
	for name, x := range map[string]struct {
		end   func(h *held)
		first []string // that it still reads
		want  func(error) bool
	}{
		"failed":   {func(h *held) { h.said <- errors.New("the routine failed") }, []string{"1", "2"}, mentions("the routine failed")},
		"closed":   {func(h *held) { h.Close(fmt.Errorf("%w: by its owner", ErrClosed)) }, nil, mentions("by its owner")},
		"the link": {func(h *held) { h.owner.Session().Fail(errors.New("killed")) }, nil, func(err error) bool { _, ok := err.(*peer.Lost); return ok }},
	} {
		onHeld(t, name, func(t *testing.T, h *held, far *End) {
			e := h.bind()
			say(t, far, "0", "1", "2")
			hear(t, e, "0")
			x.end(h)
			synctest.Wait()
			if x.first != nil {
				hear(t, e, x.first...)
			}
			for {
				if _, err := take(t.Context(), e); err != nil {
					break
				}
			}
			endsWith(t, e, x.want)
		})
	}
	onHeld(t, "returned", func(t *testing.T, h *held, far *End) {
		e := h.bind()
		say(t, far, "0", "1")
		h.said <- nil
		synctest.Wait()
		hear(t, e, "0", "1")
		if _, err := take(t.Context(), e); err != io.EOF {
			t.Error(err)
		}
		if err := e.Send(t.Context(), nil, []byte("x")); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := e.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
	onHeld(t, "no more items", func(t *testing.T, h *held, far *End) {
		e := h.bind()
		say(t, far, "0")
		far.CloseSend()
		hear(t, e, "0")
		if _, err := take(t.Context(), e); err != io.EOF {
			t.Error(err)
		}
		say(t, e, "x")
		hear(t, far, "x")
		if e.Over() {
			t.Error("over before the routine has returned")
		}
	})
	onHeld(t, "a Send that nobody receives", func(t *testing.T, h *held, far *End) {
		e := h.bind()
		say(t, far, numbers(10)...)
		hear(t, e, "0")
		say(t, far, strings.Repeat("x", mux.DefaultWindow), strings.Repeat("y", mux.DefaultWindow/2))
		h.said <- nil
		synctest.Wait()
		for range 300 {
			if err := e.Send(t.Context(), nil, make([]byte, 10_000)); err != nil {
				break // it was told
			}
		}
		hear(t, e, numbers(10)[1:]...)
		for range 2 {
			if item, err := take(t.Context(), e); err != nil || len(item) < mux.DefaultWindow/2 {
				t.Errorf("%d bytes, %v", len(item), err)
			}
		}
		if _, err := take(t.Context(), e); err != io.EOF {
			t.Error(err)
		}
	})
}
