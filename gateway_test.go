package afar_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/afar-go/afar"
)

// A gateway carries calls to its own worker only.
func TestGatewayRunsInItsWorker(t *testing.T) {
	pool := open(t, "local:3")
	for _, g := range pool.Gateways() {
		s, err := g.Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if pid, err := workerID.On(g)(within(t), struct{}{}); err != nil || pid != s.PID {
				t.Errorf("%s ran in %d, %v, and its worker is %d", g.ID(), pid, err, s.PID)
			}
		}
		for pid, err := range workerID.Map(within(t), g, func(yield func(struct{}) bool) {
			for range 500 {
				if !yield(struct{}{}) {
					return
				}
			}
		}) {
			if err != nil || pid != s.PID {
				t.Fatalf("%s: Map ran in %d, %v, and its worker is %d", g.ID(), pid, err, s.PID)
			}
		}
	}
}

// Kill is a crash on demand: the worker is replaced, the call that ran is tried
// again, also when it is bound to this worker.
func TestGatewayKill(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":2")
		g := pool.Gateways()[1]
		first, ended := waiting(t, within(t), g, d)
		before, _ := g.Status(within(t))
		if err := g.Kill(); err != nil {
			t.Fatal(err)
		}
		second := d.next(t)
		if _, err := first.says(t); err != nil && scheme == "inproc" {
			t.Errorf("an in-process function learns nothing of the loss: %v", err)
		}
		second.release("second")
		if o := receive(t, ended); o.out != "second" || o.err != nil {
			t.Errorf("%+v", o)
		}
		after, err := g.Status(within(t))
		if err != nil || after.Restarts != 1 || after.ID != before.ID || after.Done != 1 {
			t.Errorf("%+v, %v", after, err)
		}
		if scheme == "local" && (after.PID == before.PID || second.pid != after.PID) {
			t.Errorf("process %d, and before %d", after.PID, before.PID)
		}
		if other := pool.Status().Workers[0]; other.Restarts != 0 {
			t.Errorf("the other: %+v", other)
		}
	})
}

// A worker may be killed as often as somebody likes: that is no crash loop.
func TestGatewayKillOften(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		g := pool.Gateways()[0]
		for i := range 20 {
			for { // until there is one to kill
				if s, _ := g.Status(within(t)); s.Restarts >= i && s.PID != 0 {
					break
				}
				if out, err := square.On(g)(within(t), 2); out != 4 || err != nil {
					t.Fatalf("%d, %v", out, err)
				}
			}
			if err := g.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := square.On(pool)(within(t), 3); out != 9 || err != nil {
			t.Errorf("%d, %v", out, err)
		}
	})
}

// Close takes a gateway out of its pool: what ran there is tried elsewhere, what
// was bound to it and what comes later is refused.
func TestGatewayClose(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":2")
		g := pool.Gateways()
		bound, boundEnd := waiting(t, within(t), g[0], d)
		free, freeEnd := waiting(t, within(t), g[1], d)
		free.release("go")
		if o := receive(t, freeEnd); o.err != nil {
			t.Error(o.err)
		}
		if err := g[0].Close(); err != nil {
			t.Error(err)
		}
		if o := receive(t, boundEnd); !errors.Is(o.err, afar.ErrClosed) {
			t.Errorf("a call that was bound: %+v", o)
		}
		_, _ = bound.says(t)
		closed(t, g[0])
		if err := g[0].Close(); err != nil {
			t.Errorf("again: %v", err)
		}
		if err := g[0].Kill(); err != nil {
			t.Errorf("Kill after Close: %v", err)
		}
		if s, err := g[0].Status(within(t)); err != nil || s.State != afar.StateClosed || s.PID != 0 || !errors.Is(s.Err, afar.ErrClosed) {
			t.Errorf("%+v, %v", s, err)
		}
		index := 0
		for out, err := range square.Map(within(t), pool, numbers(500)) {
			if err != nil || out != index*index {
				t.Fatalf("%d, %v", out, err)
			}
			index++
		}
		for gateway, o := range square.Each(within(t), pool, 5) {
			if (o.Err == nil) != (gateway == g[1]) {
				t.Errorf("%s: %v", gateway.ID(), o.Err)
			}
		}
		if err := g[1].Close(); err != nil {
			t.Error(err)
		}
		closed(t, pool)
	})
}

// A call of the pool that ran in a gateway that is closed runs elsewhere.
func TestGatewayCloseMovesCalls(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":2")
		_, ended := waiting(t, within(t), pool, d)
		for _, g := range pool.Gateways() {
			if s, _ := g.Status(within(t)); s.Calls == 1 {
				if err := g.Close(); err != nil {
					t.Error(err)
				}
				break
			}
		}
		d.next(t).release("moved")
		if o := receive(t, ended); o.out != "moved" || o.err != nil {
			t.Errorf("%+v", o)
		}
	})
}

// Shutdown of a gateway lets its calls end, with what they call in their turn;
// the pool goes on without it.
func TestGatewayShutdown(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":2")
		g := pool.Gateways()[0]
		v, ended := waiting(t, within(t), g, d)
		shut := make(chan error, 1)
		go func() { shut <- g.Shutdown(within(t)) }()
		spy := &spy{Runner: pool}
		for range 200 {
			if _, err := square.On(spy)(within(t), 1); err != nil {
				t.Fatal(err)
			}
		}
		if got := spy.last.Load().Worker; got == g.ID() {
			t.Errorf("a call went to %s", got)
		}
		v.release("done")
		if o := receive(t, ended); o.out != "done" || o.err != nil {
			t.Errorf("%+v", o)
		}
		if err := receive(t, shut); err != nil {
			t.Error(err)
		}
		closed(t, g)
	})
}

// The last gateway of a pool, too, lets its calls end: also one that is about to
// make calls of its own.
func TestGatewayShutdownOfTheLast(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		g := pool.Gateways()[0]
		ended := make(chan outcome, 1)
		go func() {
			out, err := waitThenCall.On(pool)(within(t), visit{Desk: d.addr()})
			ended <- outcome{out, err}
		}()
		v := d.next(t)
		shut := make(chan error, 1)
		go func() { shut <- g.Shutdown(within(t)) }()
		untilClosed(t, g)
		v.release("go")
		if o := receive(t, ended); o.out != "25" || o.err != nil {
			t.Errorf("%+v", o)
		}
		if err := receive(t, shut); err != nil {
			t.Error(err)
		}
	})
}

var waitThenCall = afar.Func(waitAndCall)

func waitAndCall(ctx context.Context, v visit) (string, error) {
	if _, err := visitDesk(ctx, v); err != nil {
		return "", err
	}
	n, err := square.On(afar.Caller(ctx))(ctx, 5)
	return strings.Repeat("25", n/25), err
}

// Shutdown that is out of time closes, and says so.
func TestGatewayShutdownOutOfTime(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		v, ended := waiting(t, within(t), pool, d)
		ctx, cancel := context.WithCancel(within(t))
		cancel()
		g := pool.Gateways()[0]
		if err := g.Shutdown(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), g.ID()) {
			t.Errorf("%v", err)
		}
		if o := receive(t, ended); !errors.Is(o.err, afar.ErrClosed) {
			t.Errorf("%+v", o)
		}
		_, _ = v.says(t)
		if err := g.Shutdown(within(t)); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}
