package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// chunkOf makes a lane send its next calls in chunks of n, without sending
// ahead when ahead is false.
func chunkOf(d *Dispatcher, s *Spec, n int, ahead bool) {
	if s.Key == "" {
		s.Key, s.Name = keys[0], "f"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	*d.pace(s) = pace{average: slow, size: n}
	if ahead {
		d.pace(s).average = quick
	}
}

// TestLossCountsWhatMayHaveBegun: calls of chunks that were only sent ahead
// have lost no attempt.
func TestLossCountsWhatMayHaveBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		s := &Spec{}
		chunkOf(k.d, s, 1, true)
		k.submit(s, "a", "b", "c", "d")
		w := addLane(t, k.d, LaneConfig{Slots: 2})
		w.expect("1:a", "2:b", "3:c")
		w.die()
		w = addLane(t, k.d, LaneConfig{Slots: 2})
		w.expect("1:a", "2:b", "3:c")
		for input, attempt := range map[string]int{"a": 2, "b": 2, "c": 1} {
			if got := w.infos[input].Attempt; got != attempt {
				t.Errorf("%s: attempt %d, want %d", input, got, attempt)
			}
		}
		for i := range 4 {
			w.answer(uint64(i+1), 0, "x")
		}
		k.expect("a=x at 2", "b=x at 2", "c=x", "d=x")
		k.settled()
	})
}

// TestLossInAChunk: the calls of the chunk that was running are tried again one
// by one, so that the one that kills is found out.
func TestLossInAChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		s := &Spec{}
		chunkOf(k.d, s, 4, true)
		k.submit(s, "a", "b", "killer", "c", "d", "e")
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		w.expect("1:a,b,killer,c", "2:d,e")
		w.answer(1, 0, "A")
		w.expect()
		for attempt := 2; attempt <= 3; attempt++ {
			w.die()
			w = addLane(t, k.d, LaneConfig{Slots: 1})
			chunkOf(k.d, s, 4, false)
			if attempt == 2 {
				w.expect("1:b")
				w.answer(1, 0, "B")
				w.expect("2:killer")
			} else {
				w.expect("1:killer")
			}
		}
		w.die()
		k.expect("a=A", "b=B at 2", "killer lost at 3")
		w = addLane(t, k.d, LaneConfig{Slots: 1})
		w.expect("1:c")
		w.answer(1, 0, "C")
		w.expect("2:d")
		w.answer(2, 0, "D")
		w.expect("3:e")
		w.answer(3, 0, "E")
		k.expect("c=C at 2", "d=D", "e=E") // d and e were never in doubt
		k.settled()
	})
}

func TestLostSaysWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 1, Name: "worker-7"})
		p := NewPending()
		defer p.Put()
		p.Spec = &Spec{Key: keys[0], Name: "f", MaxAttempts: 1}
		go func() {
			synctest.Wait()
			w.die()
		}()
		out := k.d.Do(t.Context(), p, nil)
		var lost *Lost
		if !errors.As(out.Err, &lost) || lost.Worker != "worker-7" || lost.Function != "f" || lost.Attempt != 1 || lost.PID != 42 || out.Attempt != 1 {
			t.Errorf("got %+v, %+v", out, lost)
		}
		if s := w.lane.State(); s.Failed != 1 || s.Ended != 1 {
			t.Errorf("state %+v", s)
		}
	})
}

// TestExactCallsBeginOnce: a call that may begin once is lost with its worker,
// unless it had surely not begun.
func TestExactCallsBeginOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		s := &Spec{MaxAttempts: 1}
		w := addLane(t, k.d, LaneConfig{Slots: 2})
		k.submit(s, "a", "b", "c")
		w.expect("1:a", "2:b")
		w.place(wire.TypeRelease, 2, 0) // not begun, says the worker
		w.expect("3:b")
		w.die()
		k.expect("b lost at 1", "a lost at 1")
		w = addLane(t, k.d, LaneConfig{Slots: 2})
		w.expect("1:c")
		w.answer(1, 0, "")
		k.expect("c=")
		k.settled()
	})
}

// TestParkedCallsHaveBegun: they have, and so has what runs in their slot.
func TestParkedCallsHaveBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		s := &Spec{MaxAttempts: 1}
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		k.submit(s, "parent", "child", "waits")
		w.expect("1:parent")
		w.place(wire.TypePark, 1, 0)
		w.place(wire.TypePark, 1, 0)
		w.expect("2:child")
		if s := w.lane.State(); s.Parked != 1 || s.Calls != 2 || s.Running != "f" {
			t.Errorf("state %+v", s)
		}
		w.answer(2, 0, "")
		w.expect("3:waits")
		w.place(wire.TypePark, 3, 0)
		w.place(wire.TypeUnpark, 1, 0)
		w.place(wire.TypeUnpark, 1, 0)
		w.place(wire.TypeUnpark, 77, 5) // of nothing
		w.die()
		k.expect("child=", "waits lost at 1", "parent lost at 1")
		k.settled()
	})
}

// TestPolicyKillHurtsNoOther: calls beside the one for whose sake a worker was
// killed are tried again as if nothing had been.
func TestPolicyKillHurtsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		s, limited := &Spec{}, &Spec{Timeout: time.Second, Grace: time.Second}
		chunkOf(k.d, s, 1, true)
		w := addLane(t, k.d, LaneConfig{Slots: 2})
		k.submit(limited, "stubborn")
		k.submit(s, "neighbour", "ahead")
		w.expect("1:stubborn", "2:neighbour", "3:ahead")
		time.Sleep(time.Second)
		w.expect("cancel 1.0")
		time.Sleep(time.Second)
		synctest.Wait()
		<-w.gone
		if w.killed.Load() != 1 {
			t.Errorf("killed %d times", w.killed.Load())
		}
		if s := w.lane.State(); s.Killed != "f" {
			t.Errorf("state %+v", s)
		}
		k.expect("stubborn timeout")
		w = addLane(t, k.d, LaneConfig{Slots: 2})
		w.expect("1:neighbour", "2:ahead")
		w.answer(1, 0, "")
		w.answer(2, 0, "")
		k.expect("neighbour=", "ahead=")
		k.settled()
	})
}

// TestBackoff: the pause is the policy's, and so is the limit.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		var asked []int
		s := &Spec{MaxAttempts: 3, RetryError: func(err error) bool { return err.Error() != "final" },
			Backoff: func(attempt int) time.Duration {
				k.d.Open() // it may use the dispatcher: no lock is held
				asked = append(asked, attempt)
				return time.Duration(attempt) * time.Minute
			}}
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		k.submit(s, "a")
		for attempt := range 3 {
			w.expect(fmt.Sprint(attempt+1, ":a"))
			w.fail(uint64(attempt+1), 0, errors.New("passing"), 0)
			w.expect()
			if attempt < 2 {
				time.Sleep(time.Duration(attempt+1)*time.Minute - 1)
				w.expect()
				time.Sleep(time.Nanosecond)
			}
		}
		k.expect("a error passing at 3")
		k.submit(s, "b")
		w.expect("4:b")
		w.fail(4, 0, errors.New("final"), 0)
		k.expect("b error final")
		if !slices.Equal(asked, []int{1, 2}) {
			t.Errorf("Backoff was asked for %v", asked)
		}
		k.settled()
	})
}

// TestRestingCallsEnd: a call that waits for its backoff ends with whatever
// ends calls, at once.
func TestRestingCallsEnd(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(k *desk, s *Source, seat *Seat)
		want []string
	}{
		"Fail":     {func(k *desk, _ *Source, _ *Seat) { k.d.Fail(ErrClosed) }, []string{"a error afar: closed at 2"}},
		"FailSeat": {func(k *desk, _ *Source, seat *Seat) { k.d.FailSeat(seat, ErrClosed) }, []string{"a error afar: closed at 2"}},
		"Cancel": {func(k *desk, _ *Source, _ *Seat) {
			if !k.d.Cancel(k.calls["a"], nil) {
				k.t.Error("the cancel was too late")
			}
		}, nil},
		"Leave": {func(k *desk, s *Source, _ *Seat) { s.Leave(ErrClosed) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, seat := newDesk(t), &Seat{}
				s := &Spec{Key: keys[0], Name: "f", Lane: seat, Backoff: func(int) time.Duration { return time.Hour }}
				src := k.d.Source(s)
				w := addLane(t, k.d, LaneConfig{Slots: 1, Seat: seat})
				src.Add(k.call(s, "a"))
				w.expect("1:a")
				w.die()
				k.expect()
				if len(k.d.resting) != 1 {
					t.Fatal("it does not rest")
				}
				end.do(k, src, seat)
				k.expect(end.want...)
				src.Leave(ErrClosed)
				k.settled()
				time.Sleep(2 * time.Hour)
				k.expect()
			})
		})
	}
}
