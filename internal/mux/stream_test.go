package mux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/wire"
)

// opened returns both ends of a new stream.
func opened(t *testing.T, a, b *end) (near, far *Stream) {
	t.Helper()
	near, err := a.Open([]byte("test"), StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	far = b.streams.take()
	if string(far.Purpose()) != "test" {
		t.Fatalf("purpose %q", far.Purpose())
	}
	return near, far
}

// unread is how many bytes of items a stream holds for its receiver. It may be
// called inside the reader, or while nothing moves.
func unread(st *Stream) int {
	in := &st.in
	n := len(in.parcel.buf)
	if in.turn.try() { // or else somebody waits in Take
		n += in.batch.bytes()
		in.turn.release()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return n + in.fresh.bytes()
}

func (b *batch) bytes() int {
	n := len(b.data) - b.at
	for _, it := range b.large {
		n += len(it.data)
	}
	return n
}

// books checks that every byte of the window is accounted for.
func books(t *testing.T, sender, receiver *Stream) {
	t.Helper()
	synctest.Wait()
	in := &receiver.in
	in.mu.Lock()
	held, window := in.held, in.window
	charges := in.withheld + in.part + int(in.owed.Load())
	for _, b := range []batch{in.fresh, in.batch} {
		b.large = slices.Clone(b.large)
		for !b.empty() {
			_, _, charge := b.next(len(in.tag))
			charges += charge
		}
	}
	in.mu.Unlock()
	sender.out.mu.Lock()
	credit := sender.out.credit
	sender.out.mu.Unlock()
	if held != charges || held+credit != window {
		t.Errorf("%d held, %d charged, %d credit, window %d", held, charges, credit, window)
	}
}

func TestUnreadStreamHoldsAWindowAndNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = 10_000
		c := quiet()
		c.Window = window
		a, b := pair(t, c)
		near, far := opened(t, a, b)
		sent := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				err = near.Send(t.Context(), nil, make([]byte, 700))
			}
			sent <- err
		}()
		synctest.Wait()
		if n := unread(far); n > window || n < window/2 {
			t.Errorf("%d bytes held, window %d", n, window)
		}
		other, otherFar := opened(t, a, b)
		for i := range 100 {
			item := content(fmt.Sprint(i), 3*window)
			go func() { _ = other.Send(t.Context(), nil, item) }()
			if got, err := otherFar.Recv(t.Context()); err != nil || !bytes.Equal(got, item) {
				t.Fatalf("the other stream: %d bytes, %v", len(got), err)
			}
			a.Post(nil, item[:10])
			a.Flush()
			b.messages.take()
		}
		if n := unread(far); n > window {
			t.Errorf("%d bytes held, window %d", n, window)
		}
		books(t, near, far)
		near.Reset("enough")
		if err := <-sent; !errors.Is(err, ErrReset) {
			t.Errorf("the sender that waited got %v", err)
		}
	})
}

// Items larger than the window come through only because their reader waits,
// and their credit comes back before they are taken. It must not come back again
// when they are.
func TestLargeItemsGiveTheirCreditBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = 1000
		c := quiet()
		c.Window = window
		a, b := pair(t, c)
		near, far := opened(t, a, b)
		for range 5 {
			taken := make(chan error, 1)
			hold := make(chan struct{})
			go func() {
				_, err := far.Recv(t.Context()) // takes the large item only
				taken <- err
				<-hold
			}()
			go func() {
				_ = near.Send(t.Context(), nil, make([]byte, 20*window))
				for range 50 { // more than fits, wide as the window becomes
					_ = near.Send(t.Context(), nil, make([]byte, 100))
				}
			}()
			if err := <-taken; err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := unread(far); n > wide*window {
				t.Fatalf("%d bytes held, window %d", n, window)
			}
			books(t, near, far)
			close(hold)
			for range 50 {
				if _, err := far.Recv(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			books(t, near, far)
		}
	})
}

func TestItemsOfEverySize(t *testing.T) {
	const limit = 300
	for _, window := range []int{1, 64, 65, 80, 127, 128, 200} { // 1 becomes the smallest possible
		synctest.Test(t, func(t *testing.T) {
			a, b := pair(t, Config{Keepalive: -1, Window: window, MaxMessage: limit})
			near, far := opened(t, a, b)
			go func() {
				for n := range limit + 1 {
					if err := near.Send(t.Context(), nil, content("", n)); err != nil {
						t.Errorf("Send of %d: %v", n, err)
					}
				}
				near.End()
			}()
			for n := range limit + 1 {
				got, err := far.Recv(t.Context())
				if err != nil || !bytes.Equal(got, content("", n)) {
					t.Fatalf("window %d, item of %d: %d bytes, %v", window, n, len(got), err)
				}
			}
			if _, err := far.Recv(t.Context()); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
			if err := far.Send(t.Context(), nil, make([]byte, limit+1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("Send over the limit: %v", err)
			}
			synctest.Wait()
			if a.Err() != nil || b.Err() != nil {
				t.Errorf("the link ended: %v, %v", a.Err(), b.Err())
			}
		})
	}
}

func TestReceiversShareItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		const n = 100
		var wg sync.WaitGroup
		var got mailbox[byte]
		for range 7 {
			wg.Go(func() {
				for {
					item, err := far.Recv(t.Context())
					if err != nil {
						return
					}
					got.put(item[0])
				}
			})
		}
		canceled, cancel := context.WithCancel(t.Context())
		for range 3 {
			wg.Go(func() {
				if item, err := far.Recv(canceled); err == nil {
					got.put(item[0])
				} else if !errors.Is(err, context.Canceled) {
					t.Errorf("Recv gave %v", err)
				}
			})
		}
		synctest.Wait()
		for i := range n {
			if i == n/2 {
				cancel()
			}
			wg.Go(func() {
				if err := near.Send(t.Context(), nil, []byte{byte(i)}); err != nil {
					t.Error(err)
				}
			})
		}
		seen := map[byte]bool{}
		for range n {
			seen[got.take()] = true
		}
		near.End()
		wg.Wait()
		cancel()
		if len(seen) != n {
			t.Errorf("%d different items of %d", len(seen), n)
		}
	})
}

func TestCanceledSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := quiet()
		c.Window = 1000
		a, b := pair(t, c)
		near, far := opened(t, a, b)
		if err := near.Send(t.Context(), nil, make([]byte, 900)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("changed my mind")
		errs := make(chan error, 2)
		go func() { errs <- near.Send(ctx, nil, make([]byte, 900)) }() // a part of it goes
		synctest.Wait()
		go func() { errs <- near.Send(ctx, nil, nil) }() // nothing of it does
		synctest.Wait()
		cancel(cause)
		for range 2 {
			if err := <-errs; err != cause && !errors.Is(err, ErrReset) {
				t.Errorf("Send gave %v", err)
			}
		}
		if item, err := far.Recv(t.Context()); err != nil || len(item) != 900 {
			t.Errorf("what was whole: %d bytes, %v", len(item), err)
		}
		if item, err := far.Recv(t.Context()); !errors.Is(err, ErrReset) {
			t.Errorf("after the part: %d bytes, %v", len(item), err)
		}
	})
}

// A context ends a Send also while the link takes nothing.
func TestCanceledSendOnALinkThatIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := (&end{}).on(newBlocked(bytes.NewReader(nil)), Config{Keepalive: -1, Window: 8 << 20})
		start(t, a)
		st, err := a.Open(nil, StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				err = st.Send(ctx, nil, make([]byte, 20<<10))
			}
			done <- err
		}()
		synctest.Wait()
		a.writer.mu.Lock()
		if n := len(a.writer.out); n > roomLimit+wire.MaxFrame+wire.MaxHeader {
			t.Errorf("%d bytes wait to be written", n)
		}
		a.writer.mu.Unlock()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Send gave %v", err)
		}
	})
}

func TestResetBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		if err := near.Send(t.Context(), nil, []byte("before")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		near.Reset(string(make([]byte, 1<<20))) // is cut, not a broken frame
		near.Reset("again")
		near.End()
		synctest.Wait()
		if item, err := far.Recv(t.Context()); err != nil || string(item) != "before" {
			t.Errorf("what came before: %q, %v", item, err)
		}
		for _, st := range []*Stream{near, far} {
			if _, err := st.Recv(t.Context()); !errors.Is(err, ErrReset) {
				t.Errorf("Recv gave %v", err)
			}
			if err := st.Send(t.Context(), nil, nil); !errors.Is(err, ErrReset) {
				t.Errorf("Send gave %v", err)
			}
		}
		far.Reset("me too")
		synctest.Wait()
		if a.Err() != nil || b.Err() != nil {
			t.Errorf("the link ended: %v, %v", a.Err(), b.Err())
		}
	})
}

// Frames that were under way when this end ended the stream may no longer fit
// together.
func TestFramesOfAStreamThatIsOverAreIgnored(t *testing.T) {
	for name, cut := range map[string]func(*Stream){
		"reset":    func(st *Stream) { st.Reset("enough") },
		"finished": func(st *Stream) { st.Finish(nil) },
	} {
		for _, inside := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				b, r := withMouth(t, quiet())
				r.say(1, wire.Open, "\x00")
				st := b.streams.take()
				if inside {
					r.say(1, wire.ItemFirst, "\x03x")
					synctest.Wait()
				}
				cut(st)
				large := string(make([]byte, wire.MaxFrame))
				r.say(1, wire.Item, "y")
				r.say(1, wire.ItemNext, "abc")
				r.say(1, wire.ItemNext, large)
				r.say(1, wire.Item, large)
				r.say(1, wire.ItemFirst, "")
				for range 30 { // more than a window
					r.say(1, wire.Item, large)
				}
				r.say(1, wire.End, "")
				r.say(1, wire.End, "")
				r.say(1, wire.Item, "z")
				r.say(1, wire.Credit, "\xff\x7f")
				r.say(1, wire.Reset, "")
				r.say(1, wire.Finish, "")
				r.say(0, wire.Message, "the end")
				if got := b.messages.take(); string(got) != "the end" || b.Err() != nil {
					t.Errorf("%s: message %q, %v", name, got, b.Err())
				}
			})
		}
	}
}

func TestMaxStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := quiet()
		c.MaxStreams = 3
		a, b := pair(t, c)
		var sts []*Stream
		for range 5 {
			st, err := a.Open(nil, StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			sts = append(sts, st)
		}
		synctest.Wait()
		for i, st := range sts {
			if err := st.Send(t.Context(), nil, nil); (i < 3) != (err == nil) {
				t.Errorf("stream %d: %v", i, err)
			}
		}
		sts[0].Reset("make room")
		synctest.Wait()
		if _, err := a.Open(nil, StreamOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := b.streams.len(); n != 4 {
			t.Errorf("%d streams were accepted", n)
		}
	})
}

func TestPurposeOverTheLimit(t *testing.T) {
	a, b := pair(t, quiet())
	if _, err := a.Open(make([]byte, maxPurpose+1), StreamOptions{}); err == nil {
		t.Error("no error")
	}
	if _, err := a.Open(make([]byte, maxPurpose), StreamOptions{}); err != nil {
		t.Error(err)
	}
	if n := len(b.streams.take().Purpose()); n != maxPurpose {
		t.Errorf("purpose of %d bytes", n)
	}
}

func TestMalformedFramesEndTheLink(t *testing.T) {
	open := "\x16\x01\x5a" // the peer's stream 1
	for name, data := range map[string]string{
		"item of a stream that is not there":  "\x17\x00",
		"item of a stream of ours":            "\x27\x00",
		"open of a stream of ours":            "\x26\x01\x00",
		"open twice":                          open + open,
		"open out of turn":                    "\x56\x01\x00\x36\x01\x00",
		"open without credit":                 "\x16\x00",
		"open with half a number":             "\x16\x01\x80",
		"open with more than the window":      "\x16\x01\x5b",
		"open with credit of 64 bits":         "\x16\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"credit beyond the window":            open + "\x1a\x02\x8f\x02",
		"credit beyond a little":              "\x16\x01\x10\x1a\x02\xd9\x02",
		"credit of 64 bits":                   open + "\x1a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"credit with a tail":                  open + "\x1a\x02\x00\x00",
		"empty credit":                        open + "\x1a\x00",
		"end twice":                           open + "\x1b\x00\x1b\x00",
		"end inside an item":                  open + "\x18\x02\x02x\x1b\x00",
		"item after the end":                  open + "\x1b\x00\x17\x00",
		"item-first after the end":            open + "\x1b\x00\x18\x02\x01x",
		"more than the window":                open + "\x17\x28" + string(make([]byte, 40)) + "\x17\x28" + string(make([]byte, 40)),
		"item over the limit":                 open + "\x17\x29" + string(make([]byte, 41)),
		"total over the limit":                open + "\x18\x02\x29x",
		"total of 0":                          open + "\x18\x01\x00",
		"total of 64 bits":                    open + "\x18\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",
		"total of more":                       open + "\x18\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffx",
		"item-first without a total":          open + "\x18\x00",
		"item-first without a byte":           open + "\x18\x01\x02",
		"item-first with half a total":        open + "\x18\x01\x80",
		"item-first with more than the total": open + "\x18\x04\x02abc",
		"item-first inside an item":           open + "\x18\x02\x02x\x18\x02\x02x",
		"item inside an item":                 open + "\x18\x02\x02x\x17\x01x",
		"empty item inside an item":           open + "\x18\x02\x02x\x17\x00",
		"item-next of no item":                open + "\x19\x01x",
		"item-next after a whole item":        open + "\x18\x03\x02xx\x19\x01x",
		"item-next without a byte":            open + "\x18\x02\x02x\x19\x00",
		"item-next beyond the total":          open + "\x18\x02\x02x\x19\x02xx",
		"large message of nothing":            "\x01\x01\x00",
		"large message over the limit":        "\x01\x01\x29",
		"large message inside another":        "\x01\x02\x05x\x01\x02\x05x",
		"more of no large message":            "\x02\x01x",
		"more of a large message than it has": "\x01\x02\x05x\x02\x05abcde",
		"empty part of a large message":       "\x01\x02\x05x\x02\x00",
		"large message without its size":      "\x01\x00",
		"large message with half a size":      "\x01\x01\x80x",
		"size of a large message of 64 bits":  "\x01\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffx",
		"kind 14":                             "\x0e\x00",
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := launch.Pipe()
			b := (&end{}).on(far, Config{Keepalive: -1, Window: 90, MaxMessage: 40})
			b.Start()
			if _, err := near.Write([]byte(data)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if !errors.Is(b.Err(), wire.ErrMalformed) {
				t.Errorf("%s: %v", name, b.Err())
			}
			_ = b.Close()
			b.Wait()
		})
	}
}
