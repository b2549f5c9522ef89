package dispatch

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

func sprint(v any) string { return fmt.Sprint(v) }

// TestHostileWorker: what a worker says about what it was not asked changes
// nothing, or ends its link.
func TestHostileWorker(t *testing.T) {
	one := func(n int) []result { return make([]result, n) }
	logged := result{status: wire.StatusLogged, logged: 1 << 60}
	for name, x := range map[string]struct {
		do   func(w *fake)
		ends bool
	}{
		"results of nothing":      {func(w *fake) { w.results(77, 0, slow, one(3)...) }, false},
		"release of nothing":      {func(w *fake) { w.place(wire.TypeRelease, 77, 0) }, false},
		"park of nothing":         {func(w *fake) { w.place(wire.TypePark, 77, 0); w.place(wire.TypeUnpark, 1, 0) }, false},
		"release beyond the end":  {func(w *fake) { w.place(wire.TypeRelease, 1, 99) }, false},
		"cancel of nothing":       {func(w *fake) { w.cancel(77, 0); w.cancel(77, wire.Whole) }, false},
		"results beyond the end":  {func(w *fake) { w.results(1, 1, slow, one(3)...) }, true},
		"no results":              {func(w *fake) { w.results(1, 0, slow) }, true},
		"results far off":         {func(w *fake) { w.results(1, 1<<31-1, slow, one(1)...) }, true},
		"second result":           {func(w *fake) { w.results(1, 0, slow, one(1)...); w.results(1, 0, slow, one(1)...) }, true},
		"second result, held":     {func(w *fake) { w.results(1, 0, slow, logged); w.results(1, 0, slow, one(1)...) }, true},
		"bad fault":               {func(w *fake) { w.results(1, 0, slow, result{status: 1, payload: []byte{9}}) }, true},
		"results, cut":            {func(w *fake) { w.post(append(wire.AppendResults(nil, 1, 0, 2, 0), 0, 0)) }, true},
		"results, too long":       {func(w *fake) { w.post(append(wire.AppendResults(nil, 1, 0, 1, 0), 0, 0, 0)) }, true},
		"call of nothing":         {func(w *fake) { w.nest(1, wire.Info{Function: 99}, "x") }, true},
		"call at no depth":        {func(w *fake) { w.nest(1, wire.Info{Depth: maxDepth + 1}, "x") }, true},
		"calls, too many":         {func(w *fake) { w.nest(1, wire.Info{}, make([]string, maxChunk+1)...) }, true},
		"call of another parent":  {func(w *fake) { w.nest(1, wire.Info{ParentChunk: 1 << 50, ParentIndex: 1 << 30}, "x") }, false},
		"call of itself":          {func(w *fake) { w.nest(1, wire.Info{ParentChunk: 1}, "x"); w.nest(1, wire.Info{ParentChunk: 1}, "x") }, false},
		"endless calls in a time": {func(w *fake) { w.results(1, 0, 1<<62-1, one(1)...); w.results(1, 1, 1<<62-1, one(1)...) }, false},
		"hello again":             {func(w *fake) { w.post((&wire.Hello{Version: wire.Version}).Append(nil)) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newDesk(t)
				s := &Spec{MaxAttempts: 2}
				chunkOf(k.d, s, 2, false)
				k.submit(s, "a", "b", "c")
				w := addLane(t, k.d, LaneConfig{Slots: 1})
				w.expect("1:a,b")
				x.do(w)
				synctest.Wait()
				err := w.conn.Session().Err()
				if x.ends != (err != nil) || x.ends && !peer.IsMalformed(err) {
					t.Errorf("the link ended with %v", err)
				}
				w.die()
				k.d.Fail(ErrClosed)
				synctest.Wait()
				if n := len(k.ended); n != 3 {
					t.Errorf("%d of 3 calls ended: %q", n, k.ended)
				}
				k.settled()
			})
		})
	}
}

// TestBeforeJoin: a worker that speaks before it was asked does no harm.
func TestBeforeJoin(t *testing.T) {
	for name, msg := range map[string][]byte{
		"results": wire.AppendResults(nil, 1, 0, 0, 0),
		"release": wire.AppendPlace(nil, wire.TypeRelease, wire.Place{Chunk: 1}),
		"park":    wire.AppendPlace(nil, wire.TypePark, wire.Place{Chunk: 1}),
		"cancel":  (&wire.Cancel{Cause: (&wire.Fault{}).Append(nil)}).Append(nil),
		"call":    append(wire.AppendCall(wire.AppendCalls(nil, 1, 1), &wire.Info{Depth: 1}, 1), 'x'),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newDesk(t)
				w := fakeWorker(t, k.d)
				w.post(msg)
				w.join(LaneConfig{Slots: 1})
				k.submit(&Spec{}, "a")
				k.d.Fail(ErrClosed)
				w.die()
				k.expect("a error afar: closed")
				k.settled()
			})
		})
	}
}
