package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

func TestLeastLoadedLaneFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		var ws []*fake
		for range 3 {
			ws = append(ws, addLane(t, k.d, LaneConfig{Slots: 2}))
		}
		s := &Spec{}
		for i := range 6 {
			k.submit(s, fmt.Sprint(i))
			synctest.Wait()
		}
		for _, w := range ws {
			if w.lane.calls != 2 || len(w.lane.chunks) != 2 {
				t.Errorf("%d calls in %d chunks on a lane", w.lane.calls, len(w.lane.chunks))
			}
			w.heard()
		}
		k.submit(s, "more")
		if k.d.Queued() != 1 {
			t.Error("a call was sent to a lane without a free slot")
		}
		ws[1].answer(1, 0, "x")
		ws[1].expect("3:more")
	})
}

// TestChunksGrow: chunks of quick calls grow step by step to what fits into
// targetChunk, those of others stay at one call.
func TestChunksGrow(t *testing.T) {
	for each, most := range map[time.Duration]int{
		time.Nanosecond: maxChunk, 20 * time.Microsecond: 10, 150 * time.Microsecond: 1, time.Second: 1,
	} {
		synctest.Test(t, func(t *testing.T) {
			k := newDesk(t)
			w := addLane(t, k.d, LaneConfig{Slots: 1})
			s := &Spec{}
			for i := range 6000 {
				k.submit(s, fmt.Sprint(i))
			}
			size, last := 0, 1
			for chunk := uint64(1); chunk < 14; chunk++ {
				synctest.Wait()
				ch := w.lane.find(chunk)
				n := len(ch.calls)
				if n > 2*last || n > most {
					t.Errorf("%v each: chunk of %d after one of %d", each, n, last)
				}
				last, size = n, max(size, n)
				outputs := make([]result, n)
				w.results(chunk, 0, time.Duration(n)*each, outputs...)
			}
			if size != most {
				t.Errorf("%v each: chunks of up to %d, want %d", each, size, most)
			}
		})
	}
}

// TestSentAhead: one chunk ahead of need for each slot, and for quick calls only.
func TestSentAhead(t *testing.T) {
	for _, x := range []struct {
		elapsed time.Duration
		spec    Spec
		want    []string
	}{
		{quick, Spec{}, []string{"2:b", "3:c"}},
		{slow, Spec{}, []string{"2:b"}},
		{quick, Spec{MaxAttempts: 1}, []string{"2:b"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := newDesk(t)
			w := addLane(t, k.d, LaneConfig{Slots: 1})
			k.submit(&x.spec, "a", "b", "c", "d", "e")
			w.expect("1:a")
			w.results(1, 0, x.elapsed, result{})
			w.expect(x.want...)
			w.place(wire.TypeRelease, 3, 0) // it was not so quick
			w.expect()
			if x.want[0] != x.want[len(x.want)-1] && !w.lane.slow {
				t.Error("the lane does not know that its worker is slow")
			}
		})
	}
}

func TestExactCallsGoAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		k.submit(&Spec{}, "warm")
		w.expect("1:warm")
		once, other := &Spec{MaxAttempts: 1}, &Spec{}
		k.submit(other, "a", "b")
		k.submit(once, "x")
		k.submit(other, "c", "d", "e", "f", "g", "h")
		for synctest.Wait(); len(w.lane.chunks) > 0; synctest.Wait() {
			ch := w.lane.chunks[0]
			// quick ones, so that chunks grow and are sent ahead
			w.results(ch.id, 0, time.Microsecond*time.Duration(len(ch.calls)), make([]result, len(ch.calls))...)
		}
		chunks := w.heard()
		found := false
		for _, c := range chunks {
			if strings.Contains(c, "x") {
				found = true
				if !strings.HasSuffix(c, ":x") {
					t.Errorf("the exact call was sent in the chunk %q", c)
				}
			}
		}
		if !found {
			t.Errorf("chunks %q", chunks)
		}
		k.settled()
	})
}

// TestLargeInputsKeepTheOrder: a small chunk does not overtake a large one on
// the link, and need not wait for its answer.
func TestLargeInputsKeepTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 3})
		large := strings.Repeat("x", chunkBytes+1)
		s := &Spec{}
		k.submit(s, "a", large, "b")
		w.expect("1:a", fmt.Sprintf("2:%dB", len(large)), "3:b")
		w.answer(1, 0, "")
		w.answer(2, 0, "")
		w.answer(3, 0, "")
		k.expect("a=", fmt.Sprintf("%dB=", len(large)), "b=")
		k.settled()
	})
}

// TestNothingIsSentOnAnEndedLink: between the end of a link and the end of its
// worker no call may be sent there, where it would use up an attempt.
func TestNothingIsSentOnAnEndedLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w1 := addLane(t, k.d, LaneConfig{Slots: 1})
		w1.lane.Down()
		k.submit(&Spec{MaxAttempts: 1}, "a")
		w1.expect()
		w1.die()
		w2 := addLane(t, k.d, LaneConfig{Slots: 1})
		w2.expect("1:a")
		w2.answer(1, 0, "A")
		k.expect("a=A")
		k.settled()
	})
}

func TestSeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		one, two := &Seat{Name: "one"}, &Seat{Name: "two"}
		w1 := addLane(t, k.d, LaneConfig{Slots: 1, Seat: one})
		w2 := addLane(t, k.d, LaneConfig{Slots: 1, Seat: two})
		s := &Spec{Lane: two}
		k.submit(s, "a", "b")
		w1.expect()
		w2.expect("1:a")
		w2.die()
		w1.expect()
		w3 := addLane(t, k.d, LaneConfig{Slots: 1, Seat: two})
		w3.expect("1:a")
		k.submit(&Spec{}, "anywhere")
		w1.expect("1:anywhere")
		w3.answer(1, 0, "A")
		w3.expect("2:b")
		k.expect("a=A at 2")
		k.d.FailSeat(two, ErrClosed)
		k.d.FailSeat(two, ErrUnknownFunction)
		k.submit(s, "c") // nobody will ever take it
		k.expect("c error afar: closed")
		w3.die()
		k.expect("b error afar: closed at 2")
		w1.answer(1, 0, "")
		k.expect("anywhere=")
		k.settled()
	})
}

func TestUnknownFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 1, Functions: keys[:1]})
		k.submit(&Spec{Key: keys[1], Name: "g"}, "a")
		k.expect("a error afar: unknown function: g is not registered in worker w")
		w.expect()
		k.settled()
	})
}

// TestDeepCallsFirst: calls within calls go before others, the deepest first.
func TestDeepCallsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		for depth := range 4 {
			k.submit(&Spec{Depth: depth}, fmt.Sprint(depth, "a"), fmt.Sprint(depth, "b"))
		}
		k.d.Cancel(k.calls["3a"], nil)
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		for i, want := range []string{"3b", "2a", "2b", "1a", "1b", "0a", "0b"} {
			w.expect(fmt.Sprint(i+1, ":", want))
			w.answer(uint64(i+1), 0, "")
		}
		k.ended = nil
		k.settled()
	})
}

// TestQueueForgetsTheCanceled: canceled calls behind one that waits for ever do
// not pile up.
func TestQueueForgetsTheCanceled(t *testing.T) {
	k := newDesk(t)
	s := &Spec{}
	k.submit(s, "waits")
	for range 10_000 {
		c := k.call(s, "gone")
		k.d.Submit(c)
		if !k.d.Cancel(c, nil) || k.d.Cancel(c, nil) {
			t.Fatal("a cancel of a queued call tells the wrong thing")
		}
	}
	if n := k.d.queue.levels[0].n; n > 100 {
		t.Errorf("%d calls in the ring, one of them waits", n)
	}
	if k.d.Queued() != 1 || k.d.Open() != 1 {
		t.Errorf("%d queued, %d open", k.d.Queued(), k.d.Open())
	}
	k.d.Fail(ErrClosed)
	k.settledNow()
}

func (k *desk) settledNow() {
	k.t.Helper()
	if left := leftovers(k.d); left != "" {
		k.t.Fatal("left in the dispatcher: ", left)
	}
}

// TestQueueWithDepth: a level that is deep costs nothing once it is empty.
func TestQueueWithDepth(t *testing.T) {
	var q queue
	deep, flat := &Spec{Depth: maxDepth}, &Spec{}
	for range 3 {
		q.push(&Call{Spec: flat})
	}
	q.push(&Call{Spec: deep})
	for i, want := range []*Spec{deep, flat, flat, flat} {
		if c := q.pop(); c == nil || c.Spec != want {
			t.Fatalf("call %d: %+v", i, c)
		}
		if i == 0 {
			q.first()
			if q.top != 0 {
				t.Errorf("the top is %d", q.top)
			}
		}
	}
	if q.pop() != nil || q.count != 0 {
		t.Errorf("%d left", q.count)
	}
}
