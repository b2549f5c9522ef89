package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

func TestResultsInOrder(t *testing.T) {
	for _, slots := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, wire.Hello{Concurrency: slots}, echo)
			r.send(1, in("a", "b", "c")...)
			r.send(2, in("d")...)
			es := r.take()
			var mine []string
			for _, e := range es {
				mine = append(mine, e.String())
			}
			if slots > 1 {
				slices.Sort(mine) // chunks run beside each other
			}
			if got := strings.Join(mine, " "); got != `result 1.0 "a" result 1.1 "b" result 1.2 "c" result 2.0 "d"` {
				t.Errorf("got %s", got)
			}
			r.settled(slots)
		})
	}
}

// gate is a function that waits until it is let go, and notes its beginnings.
type gate struct {
	let   chan struct{}
	mu    sync.Mutex
	began []string
	ended error // the context's cause at the end, when it ended first
}

func newGate() *gate { return &gate{let: make(chan struct{})} }

func (g *gate) body(ctx context.Context, s string) (string, error) {
	g.mu.Lock()
	g.began = append(g.began, s)
	g.mu.Unlock()
	select {
	case <-g.let:
		return s, nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		g.ended = context.Cause(ctx)
		return "", ctx.Err()
	}
}

// stubborn is a gate that does not care for its context.
func (g *gate) stubborn(_ context.Context, s string) (string, error) {
	<-g.let
	return s, nil
}

func TestSlots(t *testing.T) {
	for _, slots := range []int{1, 2, 5} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			running, most := 0, 0
			r := newRig(t, wire.Hello{Concurrency: slots}, func(context.Context, string) (string, error) {
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				time.Sleep(time.Millisecond / 2) // the bubble's time
				mu.Lock()
				running--
				mu.Unlock()
				return "", nil
			})
			for i := range 4 * slots {
				r.send(uint64(i+1), in("x", "y")...)
			}
			time.Sleep(20 * time.Millisecond)
			r.take()
			if most != slots {
				t.Errorf("%d calls ran at a time, of %d slots", most, slots)
			}
			r.settled(slots)
		})
	}
}

func TestChunksBeginInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began []string
		r := newRig(t, wire.Hello{Concurrency: 1}, func(_ context.Context, s string) (string, error) {
			began = append(began, s)
			if s == "0" {
				time.Sleep(3 * time.Millisecond) // long enough for the others to queue
			}
			return s, nil
		})
		for i := range 9 {
			r.send(uint64(i+1), in(fmt.Sprint(i))...)
		}
		time.Sleep(4 * time.Millisecond)
		r.take()
		if got := strings.Join(began, ""); got != "012345678" {
			t.Errorf("began in the order %s", got)
		}
	})
}

func TestQuickCallsRunInTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns []uint64
		r := newRig(t, wire.Hello{Concurrency: 1}, func(ctx context.Context, s string) (string, error) {
			turns = append(turns, FromContext(ctx).chunk.turn)
			return s, nil
		})
		r.send(1, in("a", "b")...)
		r.send(2, in("c")...)
		r.take()
		if slices.Contains(turns, 0) || len(turns) != 3 {
			t.Errorf("ran in the reader's turns %v; 0 is not in the reader", turns)
		}
	})
}

func TestSlowCallDoesNotStopReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, g.body)
		r.send(1, in("slow")...)
		time.Sleep(10 * time.Millisecond)
		cause := errors.New("nobody wants it")
		r.cancel(1, 0, cause)
		es := r.expect("result 1.0 status 1")
		if f := faultOf(t, es[0]); !errors.Is(f, context.Canceled) || f.Canceled {
			t.Errorf("got %+v", f)
		}
		if g.ended == nil || g.ended.Error() != cause.Error() {
			t.Errorf("the cause of the cancel is %v in the function", g.ended)
		}
		r.settled(1)
	})
}

func TestResultsBeforeASlowCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, echo, g.body)
		slow := call{info: wire.Info{Function: 1}, input: "slow"}
		r.send(1, call{input: "a"}, call{input: "b"}, slow, call{input: "c"}, call{input: "d"})
		r.expect() // they wait in the chunk for each other
		time.Sleep(2 * tickPeriod)
		r.expect(`result 1.0 "a"`, `result 1.1 "b"`)
		time.Sleep(releaseAfter * tickPeriod)
		r.expect("release 1.3")
		r.send(2, in("next")...)
		time.Sleep(2 * releaseAfter * tickPeriod)
		r.expect("release 2.0")
		close(g.let)
		r.expect(`result 1.2 "slow"`)
		r.send(3, in("next")...)
		r.expect(`result 3.0 "next"`)
		r.settled(1)
	})
}

func TestCancelQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, g.body)
		r.send(1, in("slow")...)
		time.Sleep(2 * tickPeriod)
		r.send(2, in("one")...)
		r.send(3, in("one", "two")...)
		r.send(4, in("one", "two")...)
		r.cancel(2, 0, context.Canceled)          // a chunk of one that waits comes back
		r.cancel(3, wire.Whole, context.Canceled) // and so does a whole one
		r.cancel(4, 1, context.Canceled)          // a part does not begin
		r.cancel(5, 0, context.Canceled)          // nobody knows it
		r.expect("release 2.0", "release 3.0")
		close(g.let)
		es := r.expect(`result 1.0 "slow"`, `result 4.0 "one"`, "result 4.1 status 1")
		if f := faultOf(t, es[2]); !f.Canceled || !errors.Is(f, context.Canceled) {
			t.Errorf("got %+v", f)
		}
		if got := strings.Join(g.began, " "); got != "slow one" {
			t.Errorf("began: %s", got)
		}
		r.settled(1)
	})
}

// A cancel may overtake the large chunk that it is meant for: the chunk does not
// begin when it comes, and those after it do.
func TestCancelBeforeItsChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		close(g.let)
		r := newRig(t, wire.Hello{Concurrency: 1}, g.body)
		r.cancel(7, 0, context.Canceled)
		r.send(7, in("late")...)
		r.send(8, in("next")...)
		r.expect("release 7.0", `result 8.0 "next"`)
		if got := strings.Join(g.began, " "); got != "next" {
			t.Errorf("began: %s", got)
		}
		r.settled(1)
	})
}

func TestCancelInChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, g.body)
		r.send(1, in("a", "b", "c")...)
		time.Sleep(2 * tickPeriod)
		for range 3 {
			r.cancel(1, 1, context.Canceled)
			r.cancel(1, 3, context.Canceled) // beyond its end
			r.cancel(1, 1<<30, context.Canceled)
		}
		synctest.Wait()
		r.x.mu.Lock()
		if n := len(r.x.chunks[1].canceled); n != 1 {
			t.Errorf("%d cancels kept for one call", n)
		}
		r.x.mu.Unlock()
		r.cancel(1, 0, context.Canceled) // the one that runs; the next has a context of its own
		r.expect()                       // in one message with what follows
		close(g.let)
		r.expect("result 1.0 status 1", "result 1.1 status 1", `result 1.2 "c"`)
		r.settled(1)
	})
}

func TestCancelWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, g.body)
		r.send(1, in("a", "b", "c")...)
		time.Sleep(2 * tickPeriod)
		r.cancel(1, wire.Whole, context.Canceled)
		es := r.expect("result 1.0 status 1", "result 1.1 status 1", "result 1.2 status 1")
		if faultOf(t, es[0]).Canceled || !faultOf(t, es[1]).Canceled || !faultOf(t, es[2]).Canceled {
			t.Error("the first had begun, the others had not")
		}
		if len(g.began) != 1 {
			t.Errorf("began: %q", g.began)
		}
		r.settled(1)
	})
}

func TestCancelWithALongCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, g.body)
		r.send(1, in("a")...)
		time.Sleep(2 * tickPeriod)
		r.cancel(1, 0, errors.New(strings.Repeat("because ", 1<<16)))
		r.expect("result 1.0 status 1")
		if g.ended == nil || len(g.ended.Error()) > 2*maxMessage {
			t.Errorf("cause of %d bytes", len(g.ended.Error()))
		}
	})
}

func TestTimeouts(t *testing.T) {
	const timeout = 50 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		g, hard := newGate(), newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, g.body, hard.stubborn, echo)
		call := func(function int) call {
			return call{info: wire.Info{Function: function, Timeout: timeout}}
		}
		r.send(1, call(0))
		time.Sleep(timeout)
		es := r.expect("result 1.0 status 3") // failed and late
		if f := faultOf(t, es[0]); !errors.Is(f, context.DeadlineExceeded) {
			t.Errorf("got %+v", f)
		}
		if !errors.Is(g.ended, context.DeadlineExceeded) {
			t.Errorf("cause %v", g.ended)
		}
		r.send(2, call(1))
		time.Sleep(2 * timeout)
		r.expect() // it goes on; to kill it is the caller's part
		close(hard.let)
		r.expect("result 2.0 status 2")
		r.send(3, call(2))
		r.expect(`result 3.0 ""`)
		r.settled(1)
	})
}

func TestRemainingTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, g.body)
		r.send(1, call{info: wire.Info{Remaining: time.Second}})
		time.Sleep(time.Second - time.Nanosecond)
		r.expect()
		time.Sleep(time.Nanosecond)
		es := r.expect("result 1.0 status 1") // the caller's own deadline is not a timeout of the call
		if f := faultOf(t, es[0]); !errors.Is(f, context.DeadlineExceeded) {
			t.Errorf("got %+v", f)
		}
	})
}

func TestLinkEndsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 2}, g.body)
		r.send(1, in("a")...)
		r.send(2, in("b")...)
		synctest.Wait()
		_ = r.raw.Close()
		synctest.Wait()
		if g.ended == nil {
			t.Error("the function's context has not ended with the link")
		}
		r.settled(2)
	})
}

func TestMalformedCallsEndTheLink(t *testing.T) {
	for name, msg := range map[string][]byte{
		"function unknown": chunkMessage(1, []call{{info: wire.Info{Function: 7}}}),
		"no info":          wire.AppendCall(wire.AppendCalls(nil, 1, 1), nil, 0),
		"cut":              chunkMessage(1, in("a", "b"))[:9],
		"empty chunk":      wire.AppendCalls(nil, 1, 0),
		"unknown type":     {99, 1, 1},
		"second hello":     (&wire.Hello{Version: wire.Version}).Append(nil),
		"result":           wire.AppendPlace(nil, wire.TypeRelease, wire.Place{Chunk: 1}),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, wire.Hello{Concurrency: 1}, echo)
				r.post(msg)
				synctest.Wait()
				if err := r.conn.Session().Err(); !IsMalformed(err) {
					t.Errorf("the link ended with %v", err)
				}
			})
		})
	}
}

func TestChunkSentTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, g.body)
		r.send(1, in("a")...)
		time.Sleep(2 * tickPeriod)
		r.send(1, in("b")...)
		synctest.Wait()
		if err := r.conn.Session().Err(); !IsMalformed(err) {
			t.Errorf("the link ended with %v", err)
		}
	})
}

// TestNothingBeginsAfterTheEnd: the caller of a lost worker runs elsewhere what
// has not begun here.
func TestNothingBeginsAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, g.body)
		r.send(1, in("a", "b", "c")...)
		time.Sleep(2 * tickPeriod)
		r.send(2, in("d")...)
		synctest.Wait()
		_ = r.conn.Close()
		synctest.Wait()
		if got := strings.Join(g.began, " "); got != "a" {
			t.Errorf("began: %s", got)
		}
		r.settled(1)
	})
}
