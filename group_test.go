package afar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/afar-go/afar"
)

// group starts a routine in each worker; the group is closed at the end of the
// test.
func group[In, Out any](t testing.TB, r *afar.RoutineOf[In, Out], pool *afar.Pool) *afar.Group[In, Out] {
	t.Helper()
	g, err := r.StartEach(within(t), pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// gathered receives from a group until nothing more comes: the items and the
// errors of each worker.
func gathered[In, Out any](t testing.TB, g *afar.Group[In, Out]) (items map[string][]Out, errs map[string][]error) {
	t.Helper()
	items, errs = map[string][]Out{}, map[string][]error{}
	for {
		from, item, err := g.Recv(within(t))
		switch {
		case err == io.EOF:
			return items, errs
		case from == nil:
			t.Fatal(err)
		case err != nil:
			errs[from.ID()] = append(errs[from.ID()], err)
		default:
			items[from.ID()] = append(items[from.ID()], item)
		}
	}
}

// What is sent to a group goes to each, what each sends comes with its worker and
// in its order, and the end comes when all have ended.
func TestGroup(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":3?id=w")
		g := group(t, player, pool)
		ids := []string{}
		for gateway, ch := range g.Channels() {
			ids = append(ids, gateway.ID())
			send(t, ch, cue{Do: "say", N: 1, Text: gateway.ID()})
		}
		if want := []string{"w-1", "w-2", "w-3"}; !slices.Equal(ids, want) {
			t.Errorf("%q", ids)
		}
		for range g.Channels() {
			break
		}
		if err := g.Send(within(t), cue{Do: "say", N: 500}); err != nil {
			t.Error(err)
		}
		expired, cancel := context.WithCancel(within(t))
		cancel()
		for range 20 {
			if _, _, err := g.Recv(expired); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}
		if err := g.CloseSend(); err != nil {
			t.Error(err)
		}
		items, errs := gathered(t, g)
		if len(errs) != 0 || len(items) != 3 {
			t.Errorf("%v, %d workers", errs, len(items))
		}
		total := 0
		for id, all := range items {
			total += len(all)
			for i, c := range all[1:] {
				if all[i].Text == id {
					continue
				}
				if c.N != all[i].N+1 {
					t.Fatalf("%s: %d after %d", id, c.N, all[i].N)
				}
			}
		}
		if total < 3*501-20 {
			t.Errorf("%d items", total)
		}
		if err := g.Wait(within(t)); err != nil {
			t.Error(err)
		}
		if _, _, err := g.Recv(within(t)); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A routine that fails and a worker that is killed give one error each, with who
// it was; the others go on.
func TestGroupMembersFail(t *testing.T) {
	pool := open(t, "local:3?id=w")
	g := group(t, player, pool)
	var channels []*afar.Channel[cue, cue]
	for _, ch := range g.Channels() {
		channels = append(channels, ch)
	}
	send(t, channels[0], cue{Do: "say", N: 3}, cue{Do: "fail"})
	if err := pool.Gateways()[1].Kill(); err != nil {
		t.Fatal(err)
	}
	if err := channels[1].Wait(within(t)); !errors.Is(err, afar.ErrWorkerLost) {
		t.Errorf("%v", err)
	}
	if err := channels[0].Wait(within(t)); !errors.Is(err, errCue) {
		t.Errorf("%v", err)
	}
	if err := g.Send(within(t), cue{Do: "say", N: 2}); !errors.Is(err, errCue) || !errors.Is(err, afar.ErrWorkerLost) {
		t.Errorf("Send: %v", err)
	}
	_ = g.CloseSend()
	items, errs := gathered(t, g)
	if len(items["w-1"]) != 3 || len(items["w-2"]) != 0 || len(items["w-3"]) != 2 {
		t.Errorf("%v", items)
	}
	if len(errs["w-1"]) != 1 || !errors.Is(errs["w-1"][0], errCue) || len(errs["w-2"]) != 1 || !errors.Is(errs["w-2"][0], afar.ErrWorkerLost) || len(errs["w-3"]) != 0 {
		t.Errorf("%v", errs)
	}
	err := g.Wait(within(t))
	var lost *afar.WorkerLostError
	if !errors.Is(err, errCue) || !errors.As(err, &lost) || lost.Worker != "w-2" || lost.Signal != "killed" {
		t.Errorf("Wait: %v", err)
	}
}

// An item that does not decode is an error, and more comes from that worker.
func TestGroupItemThatDoesNotDecode(t *testing.T) {
	pool := open(t, "inproc:2")
	g := group(t, chooser, pool)
	for _, item := range []picky{"one", "give me nothing", "two"} {
		if err := g.Send(within(t), item); err != nil {
			t.Error(err)
		}
	}
	_ = g.CloseSend()
	items, errs := gathered(t, g)
	for _, gateway := range pool.Gateways() {
		id := gateway.ID()
		if !slices.Equal(items[id], []picky{"one", "two"}) || len(errs[id]) != 1 || !strings.Contains(errs[id][0].Error(), "it is empty") {
			t.Errorf("%s: %q, %v", id, items[id], errs[id])
		}
	}
}

// A group may be closed in any state; those who receive learn of it, and an
// error that nobody was given is logged.
func TestGroupClose(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		book := &diary{}
		pool := openWith(t, afar.Config{Log: book}, scheme+":3")
		for name, prepare := range map[string]func(*afar.Group[cue, cue]){
			"at once":    func(*afar.Group[cue, cue]) {},
			"after Send": func(g *afar.Group[cue, cue]) { _ = g.Send(within(t), cue{Do: "say", N: 100_000}) },
			"while it has": func(g *afar.Group[cue, cue]) {
				_ = g.Send(within(t), cue{Do: "say", N: 5})
				_, _, _ = g.Recv(within(t))
			},
			"half closed":   func(g *afar.Group[cue, cue]) { _ = g.CloseSend() },
			"after Close":   func(g *afar.Group[cue, cue]) { _ = g.Close() },
			"after its end": func(g *afar.Group[cue, cue]) { _ = g.CloseSend(); _ = g.Wait(within(t)) },
		} {
			g := group(t, player, pool)
			prepare(g)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for {
						if _, _, err := g.Recv(within(t)); err == io.EOF || errors.Is(err, afar.ErrClosed) {
							return
						} else if err != nil {
							t.Errorf("%s: Recv: %v", name, err)
							return
						}
					}
				})
				wg.Go(func() { _ = g.Close() })
			}
			wg.Wait()
			_, _, err := g.Recv(within(t))
			if name == "after its end" {
				if err != io.EOF {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if !errors.Is(err, afar.ErrClosed) && (name != "half closed" || err != io.EOF) { // it may have ended by itself
				t.Errorf("%s: %v", name, err)
			}
			if err := g.Send(within(t), cue{}); !errors.Is(err, afar.ErrClosed) {
				t.Errorf("%s: Send: %v", name, err)
			}
			if err := g.Wait(within(t)); name != "half closed" && !errors.Is(err, afar.ErrClosed) {
				t.Errorf("%s: Wait: %v", name, err)
			}
		}
		if n := len(book.read()); n != 0 {
			t.Errorf("%v", book.read())
		}
		for _, unread := range []int{0, 1} { // by who did not begin to receive before Close
			g := group(t, player, pool)
			if err := g.Send(within(t), cue{Do: "say", N: unread}); err != nil {
				t.Error(err)
			}
			_ = g.CloseSend()
			if err := g.Wait(within(t)); err != nil {
				t.Error(err)
			}
			_ = g.Close()
			if _, _, err := g.Recv(within(t)); (err == io.EOF) != (unread == 0) || err != io.EOF && !errors.Is(err, afar.ErrClosed) {
				t.Errorf("%d unread items: %v", unread, err)
			}
		}

		g := group(t, player, pool)
		for _, ch := range g.Channels() {
			send(t, ch, cue{Do: "say", N: 1}, cue{Do: "fail"})
		}
		if _, _, err := g.Recv(within(t)); err != nil { // from now on it gathers
			t.Error(err)
		}
		until(t, "all have failed", func() bool {
			return !slices.ContainsFunc(pool.Status().Workers, func(w afar.GatewayStatus) bool { return len(w.Channels) > 0 })
		})
		_ = g.Close()
		if n := book.entries("nobody received"); n != 3 {
			t.Errorf("%d errors are logged", n)
		}
	})
}

// The end of the context ends a group, and is not taken for the end of items.
func TestGroupContext(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":2")
		ctx, cancel := context.WithCancelCause(within(t))
		g, err := player.StartEach(ctx, pool)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		changed := errors.New("changed my mind")
		received := make(chan error, 1)
		go func() {
			for {
				from, _, err := g.Recv(within(t))
				if from == nil {
					received <- err
					return
				} else if !errors.Is(err, changed) {
					t.Errorf("%v", err)
				}
			}
		}()
		cancel(changed)
		if err := receive(t, received); !errors.Is(err, changed) {
			t.Errorf("%v", err)
		}
		if err := g.Wait(within(t)); !errors.Is(err, changed) {
			t.Errorf("%v", err)
		}
		if _, err := player.StartEach(ctx, pool); !errors.Is(err, changed) {
			t.Errorf("%v", err)
		}
	})
}

// Either all routines of a group are started or none.
func TestGroupStartsAllOrNone(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":3")
		if err := pool.Gateways()[2].Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := player.StartEach(within(t), pool); !errors.Is(err, afar.ErrClosed) {
			t.Errorf("%v", err)
		}
		until(t, "nothing runs", func() bool {
			return !slices.ContainsFunc(pool.Status().Workers, func(w afar.GatewayStatus) bool { return len(w.Channels) > 0 })
		})
	})
}

// A slow receiver of a group holds back its members by their windows, which are
// 4 MiB for large items.
func TestGroupHoldsBack(t *testing.T) {
	pool := open(t, "local:2")
	g := group(t, spring, pool)
	const each = 20 << 20
	if err := g.Send(within(t), each); err != nil {
		t.Fatal(err)
	}
	got := map[*afar.Gateway]int{}
	for {
		from, item, err := g.Recv(within(t))
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got[from] += len(item)
		if got[from]%(5<<20) == 0 {
			for _, w := range pool.Status().Workers {
				for _, ch := range w.Channels {
					if ch.Unread > 4<<20 {
						t.Errorf("%d bytes are unread", ch.Unread)
					}
				}
			}
		}
		runtime.Gosched()
	}
	if fmt.Sprint(len(got)) != "2" || got[pool.Gateways()[0]] != each || got[pool.Gateways()[1]] != each {
		t.Errorf("%v", got)
	}
}
