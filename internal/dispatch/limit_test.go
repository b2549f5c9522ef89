package dispatch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		s := &Spec{Timeout: time.Minute}
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		k.submit(s, "in time", "late", "at once", "by itself")
		w.expect("1:in time")
		time.Sleep(time.Minute - 1)
		w.answer(1, 0, "x")
		w.expect("2:late")
		time.Sleep(time.Minute)
		w.expect("cancel 2.0")
		w.fail(2, 0, context.DeadlineExceeded, 0)
		w.expect("3:at once")
		w.answer(3, 0, "y")
		w.expect("4:by itself")
		w.fail(4, 0, context.DeadlineExceeded, wire.StatusLate)
		k.expect("in time=x", "late timeout", "at once=y", "by itself timeout")
		k.submit(&Spec{}, "own error")
		w.expect("5:own error")
		w.fail(5, 0, context.DeadlineExceeded, 0)
		k.expect("own error error context deadline exceeded")
		time.Sleep(time.Hour)
		w.expect()
		if w.killed.Load() != 0 {
			t.Error("a worker was killed that had obeyed")
		}
		k.settled()
	})
}

// TestTimeoutsInAChunk: each call has its own clock, which starts with it,
// and calls of one chunk may have different ones.
func TestTimeoutsInAChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		long, none, short := &Spec{Timeout: time.Hour}, &Spec{}, &Spec{Timeout: time.Second}
		chunkOf(k.d, long, 4, false)
		k.submit(long, "a")
		k.submit(none, "b")
		k.submit(short, "c")
		k.submit(long, "d")
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		w.expect("1:a,b,c,d")
		time.Sleep(time.Hour - time.Second)
		w.expect()
		w.answer(1, 0, "A")
		time.Sleep(10 * time.Hour) // b may run for any time
		w.expect()
		w.answer(1, 1, "B")
		time.Sleep(time.Second)
		w.expect("cancel 1.2")
		w.fail(1, 2, context.DeadlineExceeded, 0)
		time.Sleep(time.Hour - 1)
		w.expect()
		time.Sleep(time.Nanosecond)
		w.expect("cancel 1.3")
		w.fail(1, 3, context.DeadlineExceeded, 0)
		k.expect("a=A", "b=B", "c timeout", "d timeout")
		k.settled()
	})
}

// TestShortTimeoutAfterALong: the clock is moved forward for it.
func TestShortTimeoutAfterALong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		long, short := &Spec{Timeout: time.Hour}, &Spec{Timeout: time.Second}
		chunkOf(k.d, long, 2, false)
		k.submit(long, "a")
		k.submit(short, "b")
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		w.expect("1:a,b")
		w.answer(1, 0, "A")
		time.Sleep(time.Second)
		w.expect("cancel 1.1")
		time.Sleep(DefaultGrace)
		<-w.gone
		k.expect("a=A", "b timeout")
		k.settled()
	})
}

// TestTimeoutAndRetry: the policy is asked about a timeout, and only then,
// also when the worker had to be killed.
func TestTimeoutAndRetry(t *testing.T) {
	for name, obeys := range map[string]bool{"obeys": true, "is killed": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newDesk(t)
				var asked []error
				s := &Spec{Timeout: time.Minute, MaxAttempts: 2, RetryError: func(err error) bool {
					k.d.Open() // no lock is held
					asked = append(asked, err)
					return true
				}}
				w := addLane(t, k.d, LaneConfig{Slots: 1})
				k.submit(s, "ok")
				w.expect("1:ok")
				w.answer(1, 0, "x")
				k.submit(s, "a")
				w.expect("2:a")
				chunk := uint64(2)
				for attempt := range 2 {
					time.Sleep(time.Minute)
					if synctest.Wait(); obeys {
						w.fail(chunk, 0, context.DeadlineExceeded, 0)
						w.heard()
						chunk = 3
						continue
					}
					time.Sleep(time.Minute)
					<-w.gone
					if attempt == 0 {
						w = addLane(t, k.d, LaneConfig{Slots: 1})
						w.expect("1:a")
						if w.infos["a"].Attempt != 2 {
							t.Errorf("attempt %d", w.infos["a"].Attempt)
						}
					}
				}
				k.expect("ok=x", "a timeout at 2")
				for _, err := range asked {
					if err != ErrTimeout {
						t.Errorf("the policy was asked about %v", err)
					}
				}
				if len(asked) == 0 {
					t.Error("the policy was not asked")
				}
				k.settled()
			})
		})
	}
}

// TestGraceIsEachCallsOwn: a call that was canceled late has all of its grace,
// whatever became of those before it.
func TestGraceIsEachCallsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		s := &Spec{Grace: time.Minute}
		chunkOf(k.d, s, 2, false)
		k.submit(s, "a", "b")
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		w.expect("1:a,b")
		k.d.Cancel(k.calls["a"], context.Canceled)
		w.expect("cancel 1.0")
		time.Sleep(time.Minute - time.Second)
		w.answer(1, 0, "A")
		k.d.Cancel(k.calls["b"], context.Canceled)
		w.expect("cancel 1.1")
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		if w.killed.Load() != 0 {
			t.Fatal("killed before the grace of the call was over")
		}
		time.Sleep(time.Nanosecond)
		<-w.gone
		if w.killed.Load() != 1 {
			t.Errorf("killed %d times", w.killed.Load())
		}
		k.expect()
		k.settled()
	})
}

// TestCancelInEveryState: the outcome is not delivered when Cancel says so,
// and the books are right.
func TestCancelInEveryState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		s := &Spec{}
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		cancel := func(input string, want bool) {
			t.Helper()
			if got := k.d.Cancel(k.calls[input], errors.New("why")); got != want {
				t.Errorf("cancel of %s: %v", input, got)
			}
			if k.d.Cancel(k.calls[input], nil) {
				t.Errorf("second cancel of %s", input)
			}
		}
		k.submit(s, "running", "queued", "next")
		w.expect("1:running")
		cancel("queued", true)
		cancel("running", true)
		w.expect("cancel 1.0")
		w.fail(1, 0, context.Canceled, 0)
		w.expect("2:next")
		w.answer(2, 0, "x")
		cancel("next", false) // it has ended
		k.submit(s, "released")
		w.expect("3:released")
		cancel("released", true)
		w.expect("cancel 3.0")
		w.place(wire.TypeRelease, 3, 0)
		w.expect()
		k.submit(s, "lost")
		w.expect("4:lost")
		cancel("lost", true)
		w.die()
		k.expect("next=x")
		k.settled()
	})
}

// TestReleaseAfterTimeout: a call that was never begun has not timed out.
func TestReleaseAfterTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		k.submit(&Spec{Timeout: time.Minute}, "a")
		time.Sleep(time.Minute)
		w.expect("1:a", "cancel 1.0")
		w.place(wire.TypeRelease, 1, 0)
		w.expect("2:a")
		time.Sleep(30 * time.Second)
		w.answer(2, 0, "x")
		k.expect("a=x")
		k.settled()
	})
}

func TestDoReturnsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDesk(t)
		w := addLane(t, k.d, LaneConfig{Slots: 1})
		for i := range 3 { // queued, running, answered
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan Outcome)
			by := &parking{}
			go func() {
				p := NewPending()
				defer p.Put()
				p.Spec = &Spec{Key: keys[0], Name: "f"}
				done <- k.d.Do(ctx, p, by)
			}()
			synctest.Wait()
			if i == 1 {
				w.answer(w.lane.lastID, 0, "x")
				if out := <-done; string(out.Output) != "x" {
					t.Errorf("got %+v", out)
				}
			}
			cancel(errors.New("the cause"))
			if i != 1 {
				out := <-done
				if !errors.Is(out.Err, context.Canceled) || out.Err.Error() != "context canceled: the cause" {
					t.Errorf("got %v", out.Err)
				}
				w.fail(w.lane.lastID, 0, context.Canceled, 0)
			}
			if by.parks != 1 || by.unparks != 1 {
				t.Errorf("parked %d times, unparked %d times", by.parks, by.unparks)
			}
		}
		k.settled()
	})
}

type parking struct{ parks, unparks int }

func (p *parking) Park()   { p.parks++ }
func (p *parking) Unpark() { p.unparks++ }
