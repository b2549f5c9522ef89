package chaos_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/afar-go/afar/queue"
)

// A server is restarted under the load of calls that wait for their results, and of a map: the
// callers notice nothing but time.
func TestRestart(t *testing.T) {
	for _, kind := range []string{"redis", "nats"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			v := startServer(s, kind)
			for i := range 2 {
				said := newLines()
				p := s.play(part{Role: "worker", Name: fmt.Sprint("w", i), URL: v.url(), Queue: "calls", Lease: lease}, said.add)
				said.wait(t, "ready")
				defer p.end(t)
			}
			load(t, v, queue.New(v.broker(), "calls"))
		})
	}
}

// load calls, and restarts the server again and again meanwhile.
func load(t *testing.T, v *server, q *queue.Queue) {
	const callers, calls, inputs, restarts = 8, 60, 500, 3
	results := make(chan int, callers*calls+inputs)
	var calling sync.WaitGroup
	ctx := within(t)
	for c := range callers {
		calling.Go(func() {
			for i := range calls {
				n := c*calls + i
				p, err := chore.On(q)(ctx, order{N: n})
				if err != nil || p.Square != n*n {
					t.Errorf("call %d: %v, %v", n, p, err)
				}
				results <- n
			}
		})
	}
	calling.Go(func() {
		orders := func(yield func(order) bool) {
			for i := 0; i < inputs && yield(order{N: i}); i++ {
			}
		}
		n := 0
		for p, err := range chore.Map(ctx, q, orders) {
			if err != nil || p.Square != n*n {
				t.Errorf("input %d: %v, %v", n, p, err)
			}
			results <- n
			n++
		}
		if n != inputs {
			t.Errorf("the map has %d results", n)
		}
	})
	for n := range callers*calls + inputs {
		select {
		case <-results:
		case <-ctx.Done():
			t.Fatalf("after %d results: %v", n, ctx.Err())
		}
		if n%((callers*calls+inputs)/(restarts+1)) == 100 {
			v.restart()
		}
	}
	calling.Wait()
}
