package dispatch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestSourcePullsWhatCanBePlaced: no more calls are asked for than lanes take,
// and their results let more in.
func TestSourcePullsWhatCanBePlaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		s := &Spec{Key: keys[0], Name: "f"}
		src := k.d.Source(s)
		added := make(chan int, 1000)
		ctx, cancel := context.WithCancelCause(t.Context())
		var stopped error
		go func() {
			for i := 0; ; i++ {
				if stopped = src.Ready(ctx); stopped != nil {
					close(added)
					return
				}
				src.Add(k.call(s, fmt.Sprint(i)))
				added <- i
			}
		}()
		synctest.Wait()
		if len(added) != 0 {
			t.Errorf("%d calls were pulled without a lane", len(added))
		}
		w := addLane(t, k.d, LaneConfig{Slots: 2})
		w.expect("1:0", "2:1")
		if len(added) != 2 {
			t.Errorf("%d calls were pulled for 2 slots", len(added))
		}
		w.answer(1, 0, "")
		w.expect("3:2")
		w.results(2, 0, quick, result{}) // it seems slow still
		w.expect("4:3")
		if len(added) != 4 {
			t.Errorf("%d calls were pulled", len(added))
		}
		cancel(errors.New("enough"))
		synctest.Wait()
		if stopped == nil || stopped.Error() != "enough" {
			t.Errorf("Ready returned %v", stopped)
		}
		src.Leave(context.Canceled)
		w.expect("cancel 3.999", "cancel 4.999")
		w.fail(3, 0, context.Canceled, 0)
		w.fail(4, 0, context.Canceled, 0)
		k.expect("0=", "1=")
		k.settled()
	})
}

// TestReadySeesTheEnd: whoever waits in Ready learns of every end.
func TestReadySeesTheEnd(t *testing.T) {
	for name, end := range map[string]func(d *Dispatcher, s *Source, seat *Seat){
		"Fail":     func(d *Dispatcher, _ *Source, _ *Seat) { d.Fail(ErrClosed) },
		"FailSeat": func(d *Dispatcher, _ *Source, seat *Seat) { d.FailSeat(seat, ErrClosed) },
		"Drain":    func(d *Dispatcher, _ *Source, _ *Seat) { _ = d.Drain(context.Background()) },
		"Leave":    func(_ *Dispatcher, s *Source, _ *Seat) { s.Leave(ErrClosed) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, seat := newDesk(t), &Seat{}
				s := &Spec{Key: keys[0], Name: "f", Lane: seat}
				src := k.d.Source(s)
				ready := make(chan error, 1)
				go func() { ready <- src.Ready(context.Background()) }()
				synctest.Wait()
				end(k.d, src, seat)
				if err := <-ready; err != nil {
					t.Errorf("Ready returned %v", err)
				}
				src.Add(k.call(s, "a"))
				k.expect("a error afar: closed")
				src.Leave(ErrClosed)
				k.settled()
			})
		})
	}
}

// TestLeave takes a source's calls out of every state, and no others.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		s := &Spec{Key: keys[0], Name: "f", Backoff: func(int) time.Duration { return time.Hour },
			RetryError: func(error) bool { return true }}
		other := &Spec{}
		src := k.d.Source(s)
		add := func(inputs ...string) {
			for _, input := range inputs {
				src.Add(k.call(s, input))
			}
		}
		chunkOf(k.d, s, 1, false)
		w := addLane(t, k.d, LaneConfig{Slots: 3})
		add("resting")
		w.expect("1:resting")
		w.fail(1, 0, errors.New("again"), 0)
		chunkOf(k.d, s, 3, true)
		k.d.mu.Lock() // so that they share a chunk
		for _, c := range []*Call{k.call(s, "held"), k.call(other, "other"), k.call(s, "mixed")} {
			if c.Spec == s {
				c.source = src
			}
			k.d.open++
			k.d.enqueue(c)
		}
		k.d.mu.Unlock()
		w.lane.Idle()
		w.expect("2:held,other,mixed")
		w.results(2, 0, slow, result{status: 4, logged: 5, payload: []byte("x")})
		chunkOf(k.d, s, 1, false)
		add("running", "running too", "queued")
		k.submit(other, "waits")
		w.expect("3:running", "4:running too")
		src.Leave(errors.New("why"))
		w.expect("cancel 2.2", "cancel 3.999", "cancel 4.999")
		w.fail(2, 2, context.Canceled, 0)
		w.answer(3, 0, "too late")
		w.expect("5:waits")
		w.answer(2, 1, "O")
		w.answer(5, 0, "W")
		k.expect("other=O", "waits=W")
		w.die()
		k.settled()
	})
}

// TestLeaveOnARetiredLane: its calls are canceled there too.
func TestLeaveOnARetiredLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		s := &Spec{Key: keys[0], Name: "f"}
		src := k.d.Source(s)
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		src.Add(k.call(s, "a"))
		w.expect("1:a")
		empty := w.lane.Retire()
		src.Add(k.call(s, "b"))
		w.expect()
		src.Leave(context.Canceled)
		w.expect("cancel 1.999")
		w.fail(1, 0, context.Canceled, 0)
		<-empty
		k.expect()
		k.settled()
	})
}

// TestFailAndDrain: see their comments.
func TestFailAndDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		if err := k.d.Drain(t.Context()); err != nil {
			t.Errorf("drain of nothing: %v", err)
		}
		k = newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		k.submit(&Spec{}, "running", "queued")
		w.expect("1:running")
		ctx, cancel := context.WithCancelCause(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- k.d.Drain(ctx) }()
		go func() { second <- k.d.Drain(t.Context()) }()
		synctest.Wait()
		k.submit(&Spec{}, "refused")
		k.expect("refused error afar: closed")
		k.submit(&Spec{Depth: 1}, "within")
		cancel(errors.New("impatient"))
		if err := <-first; err == nil || err.Error() != "3 calls still open: context canceled: impatient" {
			t.Errorf("got %v", err)
		}
		w.answer(1, 0, "")
		w.expect("2:within")
		w.answer(2, 0, "")
		w.expect("3:queued")
		k.d.Fail(errors.New("first"))
		k.d.Fail(errors.New("second"))
		k.submit(&Spec{Depth: 1}, "after")
		k.expect("running=", "within=", "after error first")
		w.die() // what runs ends when its lane is lost
		k.expect("queued error first")
		if err := <-second; err != nil {
			t.Error(err)
		}
		k.settled()
	})
}

func TestRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 2})
		k.submit(&Spec{}, "parent")
		w.expect("1:parent")
		empty := w.lane.Retire()
		k.submit(&Spec{}, "new")
		k.submit(&Spec{Depth: 1}, "within") // the parent may wait for it, and there is no other lane
		w.expect("2:within")
		other := addLane(t, k.d, LaneConfig{Slots: 1})
		other.expect("1:new")
		k.submit(&Spec{Depth: 1}, "within too")
		w.expect()
		w.answer(2, 0, "")
		w.expect()
		select {
		case <-empty:
			t.Error("the lane still has a call")
		default:
		}
		w.answer(1, 0, "")
		<-empty
		<-w.lane.Retire()
		other.answer(1, 0, "")
		other.expect("2:within too")
		other.answer(2, 0, "")
		k.expect("within=", "parent=", "new=", "within too=")
		k.submit(&Spec{Depth: 1}, "last")
		other.expect("3:last")
		empty = other.lane.Retire()
		other.die()
		<-empty
		<-other.lane.Retire()
		w.expect()
		k.d.Fail(ErrClosed)
		k.expect("last error afar: closed at 2")
		k.settled()
	})
}
