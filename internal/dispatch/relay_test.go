package dispatch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// nest makes calls from within a worker, all with one info.
func (w *fake) nest(chunk uint64, info wire.Info, inputs ...string) {
	if info.Depth == 0 {
		info.Depth = 1
	}
	msg := wire.AppendCalls(nil, chunk, len(inputs))
	for i, input := range inputs {
		p := &info
		if i > 0 {
			p = nil
		}
		msg = append(wire.AppendCall(msg, p, len(input)), input...)
	}
	w.post(msg)
}

func (w *fake) cancel(chunk uint64, index int) {
	m := &wire.Cancel{Place: wire.Place{Chunk: chunk, Index: index}, Cause: peer.EncodeError(context.Canceled).Append(nil)}
	w.post(m.Append(nil))
}

func TestCallsWithinCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		other := addLane(t, k.d, LaneConfig{Slots: 1, Functions: keys})
		k.submit(&Spec{}, "parent", "stranger")
		w.expect("1:parent")
		other.expect("1:stranger")
		w.nest(7, wire.Info{ParentChunk: 1}, "a", "b", "c")
		w.place(wire.TypePark, 1, 0)
		w.expect("2:a")
		if i := w.infos["a"]; i.Depth != 1 || i.ParentChunk != 1 || i.Attempt != 1 {
			t.Errorf("info %+v", i)
		}
		w.answer(2, 0, "A")
		w.expect("result 7.0 A", "3:b")
		w.fail(3, 0, errors.New("no"), 0)
		w.expect("result 7.1 error no", "4:c")
		other.die()
		w.answer(4, 0, "C")
		w.expect("result 7.2 C", "5:stranger")
		w.place(wire.TypeUnpark, 1, 0)
		w.answer(1, 0, "P")
		w.answer(5, 0, "S")
		k.expect("parent=P", "stranger=S at 2")
		k.settled()
	})
}

func TestCancelWithinCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		w.nest(1, wire.Info{}, "a", "b")
		w.nest(2, wire.Info{}, "c", "d")
		w.expect("1:a")
		w.cancel(1, 1)
		w.expect("result 1.1 error context canceled")
		w.cancel(2, wire.Whole)
		w.cancel(2, 0)
		w.cancel(99, wire.Whole)
		if n := len(w.heard()); n != 2 {
			t.Errorf("%d answers to two canceled calls", n)
		}
		w.cancel(1, 0)
		said := w.heard() // in either order
		if len(said) != 2 {
			t.Errorf("told %q", said)
		}
		w.answer(1, 0, "A")
		w.expect()
		k.settled()
	})
}

// TestWorkerLostWithItsCalls: what it called is canceled elsewhere.
func TestWorkerLostWithItsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		k.submit(&Spec{}, "parent")
		w.expect("1:parent")
		other := addLane(t, k.d, LaneConfig{Slots: 1})
		w.nest(1, wire.Info{ParentChunk: 1}, "a", "b")
		other.expect("1:a")
		w.die()
		other.expect("cancel 1.0")
		other.fail(1, 0, context.Canceled, 0)
		other.expect("2:parent")
		other.answer(2, 0, "P")
		k.expect("parent=P at 2")
		k.settled()
	})
}

// TestErrorsOfTheDispatcherTravel: a call that was lost, timed out or refused on
// behalf of a worker is so in the worker too.
func TestErrorsOfTheDispatcherTravel(t *testing.T) {
	for _, err := range []error{ErrTimeout, ErrClosed, ErrUnknownFunction, &Lost{Worker: "w", Attempt: 3, Signal: "killed"}} {
		out := &Outcome{Err: err, Worker: "w"}
		f, derr := peer.DecodeError(relay(out).Append(nil))
		if derr != nil {
			t.Fatal(derr)
		}
		got := relayed(f)
		var lost *Lost
		if errors.As(err, &lost) {
			if got, ok := got.(*Lost); !ok || *got != *lost {
				t.Errorf("got %+v", got)
			}
		} else if !errors.Is(got, err) || got.Error() != err.Error() {
			t.Errorf("got %v, want %v", got, err)
		}
	}
	null := &wire.Fault{Type: faultLost, Message: "m", Typed: []wire.Typed{{Name: "afar.lost", Data: []byte{0xf6}}}}
	f, err := peer.DecodeError(null.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := relayed(f).(*Lost); ok {
		t.Errorf("a hostile worker made a %#v", got)
	}
}

// TestLogsOfCalls: records come before the result, go to who asked for them,
// and keep their call's name and attempt whatever becomes of it.
func TestLogsOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		var asked bool
		s := &Spec{RetryError: func(error) bool { asked = true; return true }}
		hold := make(chan struct{})
		s.Log = func(_ string, c *Call, r *peer.Record) {
			<-hold
			w.log("mine", c, r)
		}
		chunkOf(k.d, s, 1, false)
		k.submit(s, "a")
		k.submit(&Spec{}, "b")
		w.expect("1:a")
		w.say(1, 0, "one")
		w.say(1, 0, "two")
		w.say(55, 7, "stray")
		failed := peer.EncodeError(errors.New("again")).Append(nil)
		w.results(1, 0, slow, result{status: wire.StatusFailed | wire.StatusLogged, logged: 2, payload: failed})
		w.expect("2:b")
		if !asked {
			t.Error("the policy was not asked")
		}
		close(hold)
		w.answer(2, 0, "B")
		w.expect("3:a")
		w.say(3, 0, "three")
		w.results(3, 0, slow, result{status: wire.StatusLogged, logged: 4, payload: []byte("A")})
		k.expect("b=B", "a=A at 2")
		want := "[mine: one by 1/1 mine: two by 1/1 lane: stray by nobody mine: three by 1/2]"
		w.mu.Lock()
		defer w.mu.Unlock()
		if got := sprint(w.logs); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		k.settled()
	})
}

// TestLogsAfterLoss: records that are still to be handled when a worker is lost
// belong to the attempt that was lost, though the call may be used again.
func TestLogsAfterLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		hold := make(chan struct{})
		p := NewPending()
		p.Spec = &Spec{Key: keys[0], Name: "f", MaxAttempts: 1, Log: func(_ string, c *Call, r *peer.Record) {
			<-hold
			w.log(c.Spec.Name, c, r)
		}}
		p.ID = 9
		done := make(chan Outcome)
		go func() {
			out := k.d.Do(context.Background(), p, nil)
			p.Put()
			done <- out
		}()
		synctest.Wait()
		for range 3 {
			w.say(1, 0, "x")
		}
		synctest.Wait()
		w.die()
		if out := <-done; out.Err == nil {
			t.Errorf("got %+v", out)
		}
		if w.lane.State().Killed != "" {
			t.Error("nobody killed it")
		}
		close(hold)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if got := sprint(w.logs); got != "[f: x by 9/1 f: x by 9/1 f: x by 9/1]" {
			t.Errorf("got %s", got)
		}
	})
}

// TestSlowLogHandler: while records of calls that were answered are handled, the
// clock is that of the call that runs, and a cancel of an answered call is one.
func TestSlowLogHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		hold := make(chan struct{})
		s := &Spec{Timeout: time.Minute, Log: func(string, *Call, *peer.Record) { <-hold }}
		chunkOf(k.d, s, 3, false)
		k.submit(s, "a", "b", "c")
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		w.expect("1:a,b,c")
		w.say(1, 0, "x")
		w.results(1, 0, slow, result{status: wire.StatusLogged, logged: 1, payload: []byte("A")})
		time.Sleep(59 * time.Second)
		w.expect() // b has its own minute
		if !k.d.Cancel(k.calls["a"], context.Canceled) {
			t.Error("a call whose outcome was not delivered can be canceled")
		}
		w.expect()
		time.Sleep(time.Second)
		w.expect("cancel 1.1")
		w.fail(1, 1, context.DeadlineExceeded, 0)
		time.Sleep(time.Minute - 1)
		w.expect()
		time.Sleep(time.Nanosecond)
		w.expect("cancel 1.2")
		w.answer(1, 2, "C")
		time.Sleep(time.Hour)
		if w.killed.Load() != 0 {
			t.Error("killed")
		}
		close(hold)
		k.expect("b timeout", "c=C") // which began later than we thought
		k.settled()
	})
}
