package handle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// Items of all sizes go both ways at a time, in order and unharmed, and what was
// sent before an end arrives before it.
func TestItemsAndEnds(t *testing.T) {
	sizes := []int{0, 1, 100, 5000, 70_000, 300_000, 3 << 20}
	onEach(t, func(t *testing.T, r *tree, holder, owner *mux.Stream) {
		holder.Grant()
		var wg sync.WaitGroup
		for name, ends := range map[string][2]*mux.Stream{"up": {holder, owner}, "down": {owner, holder}} {
			from, to := ends[0], ends[1]
			wg.Go(func() {
				for i, size := range sizes {
					if err := from.Send(t.Context(), []byte(fmt.Sprint(name, i)), bytes.Repeat([]byte{byte(i)}, size)); err != nil {
						t.Error(err)
					}
				}
				from.End()
			})
			wg.Go(func() {
				for i, size := range sizes {
					item, err := to.Recv(t.Context())
					if want := append([]byte(fmt.Sprint(name, i)), bytes.Repeat([]byte{byte(i)}, size)...); err != nil || !bytes.Equal(item, want) {
						t.Errorf("%s: item %d: %d bytes, %v", name, i, len(item), err)
					}
				}
				if _, err := to.Recv(t.Context()); err != io.EOF {
					t.Errorf("%s: %v at the end", name, err)
				}
			})
		}
		wg.Wait()
		if holder.Err() != nil || owner.Err() != nil {
			t.Errorf("over before either side said so: %v, %v", holder.Err(), owner.Err())
		}
		// Nobody sends any more, and so the far side hears at once how it ended.
		peer.Finish(owner, wire.Ending{Code: wire.EndDone, Logged: 3, Taken: 7}, nil)
		synctest.Wait()
		if end, how := peer.Ended(holder.Err()); how != io.EOF || end.Logged != 3 || end.Taken != 7 {
			t.Errorf("%+v, %v", end, how)
		}
	})
}

// How one side ends the stream arrives at the other, behind what it has sent.
func TestFinishTravels(t *testing.T) {
	for code, name := range []string{"done", "failed", "closed"} {
		for _, byHolder := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " by holder ", byHolder), func(t *testing.T) {
				onEach(t, func(t *testing.T, r *tree, holder, owner *mux.Stream) {
					holder.Grant()
					from, to := owner, holder
					if byHolder {
						from, to = holder, owner
					}
					for i := range 100 {
						send(t, from, fmt.Sprint("item ", i))
					}
					peer.Finish(from, wire.Ending{Code: byte(code), Taken: 9}, errors.New("the reason"))
					for i := range 100 {
						recv(t, to, fmt.Sprint("item ", i))
					}
					end, how := ended(t, to)
					if end.Code != byte(code) || end.Taken != 9 || code > 0 && !strings.Contains(how.Error(), "the reason") {
						t.Errorf("%+v, %v", end, how)
					}
				})
			})
		}
	}
}

// An owner sends nothing before the holder wants to receive, and no more than the
// windows on the way when it does not read. Others notice nothing.
func TestFlowControl(t *testing.T) {
	const size = 10_000
	flood := func(t *testing.T, s *mux.Stream) (sent func() int) {
		before := s.State().Sent
		go func() {
			for s.Send(context.Background(), make([]byte, size), nil) == nil {
			}
		}()
		return func() int {
			synctest.Wait()
			return int(s.State().Sent-before) * size
		}
	}
	onEach(t, func(t *testing.T, r *tree, holder, owner *mux.Stream) {
		down := flood(t, owner)
		if n := down(); n > HolderCredit {
			t.Errorf("%d bytes were sent to a holder that does not want any", n)
		}
		if err := owner.Granted(canceled()); err == nil {
			t.Error("the owner is told that the holder wants to receive")
		}
		holder.Grant()
		// At most four links, and an item in each passage.
		const most = 4*mux.DefaultWindow + 3*size
		if n := down(); n == 0 || n > most {
			t.Errorf("%d bytes were sent to a holder that reads none", n)
		}
		up := flood(t, holder)
		if n := up(); n == 0 || n > most {
			t.Errorf("%d bytes were sent to an owner that reads none", n)
		}
		r.alive()
		was := down()
		for range 300 {
			if _, err := holder.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := down(); n <= was {
			t.Error("nothing more is sent to a holder that has read")
		}
		peer.Finish(owner, wire.Ending{}, nil)
		peer.Finish(holder, wire.Ending{}, nil)
	})
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A holder that sends to what is over, and has not read all that came before,
// does not wait for ever: it can still read that, and then learns of the end.
func TestSendingToWhatIsOver(t *testing.T) {
	onEach(t, func(t *testing.T, r *tree, holder, owner *mux.Stream) {
		holder.Grant()
		const n = 500
		for i := range n {
			if err := owner.Send(t.Context(), []byte(fmt.Sprint(i, " ")), make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		peer.Finish(owner, wire.Ending{}, nil)
		synctest.Wait()
		for range 3 * mux.DefaultWindow / 10_000 {
			if err := holder.Send(t.Context(), make([]byte, 10_000), nil); err != nil {
				break // it was told
			}
		}
		for i := range n {
			item, err := holder.Recv(t.Context())
			if err != nil || !strings.HasPrefix(string(item), fmt.Sprint(i, " ")) {
				t.Fatalf("item %d: %.10q, %v", i, item, err)
			}
		}
		if _, how := ended(t, holder); how != io.EOF {
			t.Error(how)
		}
	})
}

// Lost links end what goes over them, on both sides and with the reason.
func TestLinkIsLost(t *testing.T) {
	for _, x := range []struct{ from, to, cut string }{
		{"a", "b", "a"}, {"a", "b", "b"}, {"a", "c", "a"}, {"a", "c", "b"}, {"a", "c", "c"}, {"c", "a", "c"}, {"c", "a", "a"},
	} {
		t.Run(fmt.Sprintf("%s to %s without %s", x.from, x.to, x.cut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTree(t)
				holder, owner := r.route(x.from, x.to)
				holder.Grant()
				for range 100 {
					send(t, holder, "up")
					send(t, owner, "down")
				}
				synctest.Wait()
				r.workers[x.cut].own.Session().Fail(errors.New("killed"))
				synctest.Wait()
				for _, s := range []*mux.Stream{holder, owner} {
					if s.Err() == nil {
						t.Error("not over")
					}
				}
				for name, s := range map[string]*mux.Stream{x.from: holder, x.to: owner} {
					if name == x.cut || name == "c" && x.cut == "b" {
						continue // its own way up is gone
					}
					for range 100 {
						if _, err := s.Recv(t.Context()); err != nil {
							t.Errorf("at %s: %v before the items that had arrived", name, err)
						}
					}
					if _, how := ended(t, s); !strings.Contains(how.Error(), "worker "+x.cut+" was cut") {
						t.Errorf("at %s: %v", name, how)
					}
				}
			})
		})
	}
}

// The reason for the end of a stream's own link is asked for by its user.
func TestLostAtTheRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTree(t)
		x, h := r.offer("a")
		s, lost, err := r.root.Bind(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		<-x.streams
		y, h := r.offer("root")
		if _, _, err := r.home("a").Bind(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		held := <-y.streams
		r.workers["a"].own.Session().Fail(errors.New("killed"))
		for end, lost := range map[*mux.Stream]Lost{s: lost, held: y.lost} {
			_, err := end.Recv(t.Context())
			if how := How(err, lost); !strings.Contains(how.Error(), "worker a was cut") {
				t.Error(how)
			}
		}
		// Of another's word it says nothing.
		if how := How(&mux.Finished{Payload: []byte{0, 0, 0}}, y.lost); how != io.EOF {
			t.Error(how)
		}
		if how := How(fmt.Errorf("%w: no", mux.ErrReset), y.lost); strings.Contains(how.Error(), "cut") {
			t.Error(how)
		}
	})
}

// Links may have different limits: an item that one of them does not carry is an
// error for both sides, not silence.
func TestItemTooLargeForTheNextLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTree(t)
		r.add(r.root, "small", 1000) // and what the peer adds to that
		for _, way := range [][2]string{{"a", "small"}, {"small", "a"}} {
			holder, owner := r.route(way[0], way[1])
			holder.Grant()
			from, to := holder, owner
			if way[0] == "small" {
				from, to = owner, holder
			}
			send(t, from, "fits")
			send(t, from, strings.Repeat("x", 2<<20))
			recv(t, to, "fits")
			for _, s := range []*mux.Stream{from, to} {
				if _, how := ended(t, s); !strings.Contains(how.Error(), "too large") || !strings.Contains(how.Error(), fmt.Sprint(2<<20)) {
					t.Error(how)
				}
			}
		}
		r.alive()
	})
}

// Many streams at a time, opened and given up in every moment.
func TestPassagesUnderLoad(t *testing.T) {
	r := newTree(t)
	var wg sync.WaitGroup
	for i := range 40 {
		way := routes[i%len(routes)]
		wg.Go(func() {
			for j := range 20 {
				x, h := r.offer(way[1])
				ctx, cancel := context.WithCancel(t.Context())
				if j%4 == 0 {
					go cancel()
				}
				holder, _, err := r.home(way[0]).Bind(ctx, h)
				if err == nil {
					owner := <-x.streams
					holder.Grant()
					for range j {
						if holder.Send(t.Context(), []byte("x"), nil) != nil || owner.Send(t.Context(), []byte("y"), nil) != nil {
							t.Error("not sent")
						}
					}
					peer.Finish([]*mux.Stream{holder, owner}[j%2], wire.Ending{}, nil)
				} else if ctx.Err() == nil {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	r.alive()
}
