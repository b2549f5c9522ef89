package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// addressOf is one of many addresses.
func addressOf(i int) net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 1, byte(i>>8), byte(i))} }

// lasting is how long the visitors of these tests may wait, and be on their way in.
const lasting = 10 * time.Second

// A crowd of visitors who say nothing.
type strangers struct {
	gate  *gate
	group sync.WaitGroup
}

// come has one come, who stays for as long as it may; again says whether it then comes
// once more.
func (s *strangers) come(ctx context.Context, i int, again bool) {
	s.group.Go(func() {
		for ctx.Err() == nil {
			if v, err := s.gate.enter(ctx, lasting, addressOf(i), false); err == nil {
				stay(v)
				s.gate.leave(v)
			}
			if !again {
				return
			}
			<-time.After(grace / 3) // the way here
		}
	})
}

// stay is a handshake in which nothing is said.
func stay(v *visitor) {
	timer := time.NewTimer(lasting)
	defer timer.Stop()
	select {
	case <-v.ctx.Done():
	case <-timer.C:
	}
}

// A caller from where nobody else comes is let in within grace, and may take its time, as
// long as strangers come from fewer networks than may be on their way in.
func TestGateQuietNetwork(t *testing.T) {
	for _, test := range []struct{ networks, each int }{{1, 100}, {2, 50}, {3, 30}, {15, 8}} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprint(test, again), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &strangers{gate: &gate{most: 16}}
					ctx, cancel := context.WithCancel(t.Context())
					for i := range test.networks * test.each {
						s.come(ctx, 1+i%test.networks, again)
					}
					synctest.Wait()
					began := time.Now()
					v, err := s.gate.enter(ctx, lasting, addressOf(0), false)
					if err != nil {
						t.Fatal(err)
					}
					if took := time.Since(began); took > grace {
						t.Errorf("it was let in after %v", took)
					}
					if stay(v); v.ctx.Err() != nil {
						t.Errorf("it had to go after %v: %v", time.Since(began), context.Cause(v.ctx))
					}
					s.gate.leave(v)
					cancel()
					s.group.Wait()
					s.gate.empty(t)
				})
			})
		}
	}
}

// Of more networks than may be on their way in each has its turn, and its grace.
func TestGateManyNetworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &strangers{gate: &gate{most: 16}}
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 32 {
			s.come(ctx, 1+i, true)
		}
		synctest.Wait()
		began := time.Now()
		v, err := s.gate.enter(ctx, lasting, addressOf(0), false)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 3*grace {
			t.Errorf("it was let in after %v", took)
		}
		began = time.Now()
		if stay(v); time.Since(began) < grace {
			t.Errorf("it had to go after %v: %v", time.Since(began), context.Cause(v.ctx))
		}
		s.gate.leave(v)
		cancel()
		s.group.Wait()
		s.gate.empty(t)
	})
}

// Who comes from where strangers come from gets in too when no more of them come.
func TestGateSameNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &strangers{gate: &gate{most: 16}}
		for range 200 {
			s.come(t.Context(), 0, false)
		}
		synctest.Wait()
		for _, punished := range []bool{false, true} {
			v, err := s.gate.enter(t.Context(), lasting, addressOf(0), punished)
			if err != nil {
				t.Fatal(err)
			}
			s.gate.leave(v)
		}
		s.group.Wait()
		s.gate.empty(t)
	})
}

// Nobody has to make room as long as there is some, or before grace is over; who waits
// too long, or when too many do, is told so.
func TestGatePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{most: 4}
		enter := func(i int, patience time.Duration) *visitor {
			t.Helper()
			v, err := g.enter(t.Context(), patience, addressOf(i), false)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		first, second := enter(0, lasting), enter(0, lasting)
		time.Sleep(2 * grace)
		other := enter(1, lasting) // there is room for it
		if first.ctx.Err() != nil || second.ctx.Err() != nil || other.ctx.Err() != nil {
			t.Error("somebody had to go though there was room")
		}
		third := enter(0, lasting) // half of the gate is the first network's; its oldest makes room
		if first.ctx.Err() == nil || !errors.Is(context.Cause(first.ctx), errSlow) || second.ctx.Err() != nil {
			t.Error("the oldest did not make room")
		}
		g.leave(second)
		fourth := enter(0, lasting)
		if _, err := g.enter(t.Context(), grace/2, addressOf(0), false); !errors.Is(err, errCrowded) {
			t.Errorf("it waited, and got %v", err)
		}
		for _, v := range []*visitor{first, third, fourth, other, other} {
			g.leave(v)
		}
		g.empty(t)
	})
}

// Whoever comes and goes in whatever order, there are never too many, and nothing of them
// stays.
func TestGateCounts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			g := &gate{most: rapid.IntRange(1, 6).Draw(rt, "most")}
			var group sync.WaitGroup
			for range rapid.IntRange(1, 60).Draw(rt, "visitors") {
				ctx, cancel := context.WithCancel(t.Context())
				from := addressOf(rapid.IntRange(0, 5).Draw(rt, "network"))
				at := time.Duration(rapid.IntRange(0, 40).Draw(rt, "at")) * grace / 10
				takes := time.Duration(rapid.IntRange(0, 40).Draw(rt, "takes")) * grace / 10
				punished := rapid.Bool().Draw(rt, "punished")
				group.Go(func() {
					time.Sleep(at)
					time.AfterFunc(takes, cancel)
					v, err := g.enter(ctx, 2*grace, from, punished)
					g.within(t)
					if err == nil {
						<-v.ctx.Done()
						g.leave(v)
					}
				})
			}
			group.Wait()
			g.empty(t)
		})
	})
}

// within checks that no more are there than may be.
func (g *gate) within(t *testing.T) {
	g.mu.Lock()
	defer g.mu.Unlock()
	in, waiting := 0, 0
	for _, n := range g.networks {
		in += len(n.in)
		waiting += len(n.waiting)
		if len(n.in) > max(1, g.most/2) {
			t.Errorf("%d of one network are in", len(n.in))
		}
	}
	if in != g.in || waiting != g.waiting || in > g.most || waiting > maxWaiting*g.most {
		t.Errorf("%d are in, %d wait, of %d; counted are %d and %d", in, waiting, g.most, g.in, g.waiting)
	}
}

// empty checks that nothing is left of anybody.
func (g *gate) empty(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.in != 0 || g.waiting != 0 || len(g.networks) != 0 || g.timer != nil {
		t.Errorf("%d are in, %d wait, %d networks", g.in, g.waiting, len(g.networks))
	}
}
