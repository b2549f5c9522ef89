package object

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// raw opens a stream for a new object, whose user is the test itself.
func (r *rig) raw(argument string) *mux.Stream {
	r.t.Helper()
	s, err := r.caller.Session().Open(wire.AppendPurpose(nil, wire.PurposeObject, &wire.Info{}), mux.StreamOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	if argument != "none" {
		send(s, argument)
	}
	return s
}

func request(id uint64, op byte, input string) string {
	q := wire.Request{ID: id, Op: op, Info: &wire.Info{Function: methodWork}}
	return string(q.AppendHead(nil)) + input
}

// closed checks that a stream was ended by the host, and why.
func closed(t *testing.T, s *mux.Stream, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for {
		if _, err := s.Recv(ctx); err != nil {
			_, how := peer.Ended(err)
			var c *peer.Closed
			if !errors.As(how, &c) || !strings.Contains(how.Error(), want) {
				t.Errorf("%T %v, want %s", how, how, want)
			}
			return
		}
	}
}

// Whatever the user of an object sends ends that handle and nothing else, also
// when it comes on a holder's.
func TestHostOfHostileHandle(t *testing.T) {
	for name, x := range map[string]struct {
		items []string
		want  string
	}{
		"empty":              {[]string{""}, "bad number"},
		"garbage":            {[]string{"garbage"}, "unknown operation"},
		"unknown operation":  {[]string{"\x01\x09"}, "unknown operation"},
		"info cut":           {[]string{"\x01\x00\xff"}, "malformed"},
		"cancel of garbage":  {[]string{"\x01\x04garbage"}, "malformed"},
		"cancel of nothing":  {[]string{"\x01\x04"}, "malformed"},
		"a large one beside": {[]string{request(1, wire.OpCall, "gate x"), request(2, wire.OpCall, strings.Repeat("x", windowSize))}, "more requests than the window"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				h := r.make(classThing)
				holder, err := r.bind(h.Token())
				if err != nil {
					t.Fatal(err)
				}
				holder.Grant()
				send(holder, x.items[0])
				synctest.Wait() // it has begun, if it is a request
				send(holder, x.items[1:]...)
				closed(t, holder, x.want)
				synctest.Wait()
				r.mu.Lock()
				began := len(r.lines) > 0
				r.mu.Unlock()
				if began {
					r.gate("x") <- ""
				}
				if out, err := do(t.Context(), h, "say still"); out != "still" || err != nil {
					t.Errorf("the object after a holder's garbage: %q, %v", out, err)
				}

				maker := r.raw("")
				if token, err := maker.Recv(t.Context()); err != nil || len(token) == 0 {
					t.Fatalf("%q, %v", token, err)
				}
				send(maker, x.items[0])
				synctest.Wait()
				send(maker, x.items[1:]...)
				closed(t, maker, x.want)
				synctest.Wait()
				if began {
					r.gate("x") <- ""
				}
				r.lives()
			})
		})
	}
}

func TestRequestBeforeTheObject(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := r.raw("gate making")
		send(s, request(1, wire.OpCall, "say early"))
		closed(t, s, "before the object was there")
		r.gate("making") <- ""
		r.said("begin gate making", "end gate making", "close")
		r.lives()
	})
}

// Streams that break off at any point leave nothing behind.
func TestStreamBreaksOff(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		end := (*mux.Stream).End
		reset := func(s *mux.Stream) { s.Reset("bye") }
		finish := func(s *mux.Stream) { s.Finish([]byte("garbage")) }
		for _, then := range []func(*mux.Stream){end, reset, finish} {
			then(r.raw("none"))
			then(r.raw("fail no"))
			then(r.raw(""))
			s := r.raw("")
			_, _ = s.Recv(t.Context())
			send(s, request(1, wire.OpCall, "wait it"), request(2, wire.OpCall, "say never"))
			then(s)
			synctest.Wait()
			if s.Err() == nil {
				t.Error("the host has not ended a stream that will bring no more requests")
			}
		}
		for _, line := range r.lines {
			if strings.Contains(line, "never") {
				t.Errorf("%q", r.lines)
			}
		}
		r.lives()
	})
}

// A handle that does not keep to the window is ended before the host holds more
// than that of its requests; canceled ones count until they are answered.
func TestHostKeepsToTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := r.raw("")
		_, _ = s.Recv(t.Context())
		send(s, request(1, wire.OpCall, "gate x"))
		synctest.Wait() // it has begun
		const most = windowSize/entryCost - 1
		for i := range most - 1 {
			send(s, request(uint64(i+2), wire.OpCall, ""))
		}
		cancel := wire.Request{ID: 1, Op: wire.OpCancel}
		send(s, string(cancel.AppendHead(nil))+string(peer.EncodeShort(context.Canceled)))
		synctest.Wait()
		if s.Err() != nil {
			t.Fatalf("ended within the window: %v", s.Err())
		}
		send(s, request(most+1, wire.OpCall, "12345678"), request(most+2, wire.OpCall, strings.Repeat("x", 600)))
		closed(t, s, "more requests than the window")
		r.gate("x") <- ""
		r.lives()
	})
}

// The same number for two requests at a time is the handle's own affair.
func TestNumberUsedTwice(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := r.raw("")
		_, _ = s.Recv(t.Context())
		send(s, request(1, wire.OpCall, "say a"), request(1, wire.OpCall, "say b"))
		for _, want := range []string{"a", "b"} {
			item, err := s.Recv(t.Context())
			reply, parseErr := wire.ParseReply(item)
			if err != nil || parseErr != nil || reply.ID != 1 || string(reply.Payload) != want {
				t.Errorf("%+v, %v, %v", reply, err, parseErr)
			}
		}
		s.Finish(nil)
		r.lives()
	})
}

func TestPurposeOfGarbage(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for _, purpose := range []string{"\x03", "\x03\xff\xff", string(wire.AppendPurpose(nil, wire.PurposeObject, &wire.Info{Function: methodWork})),
			string(wire.AppendPurpose(nil, wire.PurposeObject, &wire.Info{Function: 99})), string(wire.AppendPurpose(nil, wire.PurposeObject, &wire.Info{})) + "x"} {
			s, err := r.caller.Session().Open([]byte(purpose), mux.StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Recv(t.Context()); !errors.Is(err, mux.ErrReset) {
				t.Errorf("%q: %v", purpose, err)
			}
		}
		r.lives()
	})
}

// FuzzRequests sends any items to a host, from its maker and from a holder.
func FuzzRequests(f *testing.F) {
	f.Add("", request(1, wire.OpCall, "say a"), request(2, wire.OpInvoke, ""))
	f.Add("fail x", request(1, wire.OpGet, "\x05Total"), "\x01\x04")
	f.Add("nil", "\x01\x04"+string(peer.EncodeShort(context.Canceled)), "garbage")
	f.Add("", request(1, wire.OpSet, "\x05Total\x07"), request(1, wire.OpInvoke, "\x03Add\x01\x01\x05"))
	f.Fuzz(func(t *testing.T, argument, first, second string) {
		if strings.Contains(argument+first+second, "gate ") || strings.Contains(argument+first+second, "size ") {
			return // they wait for the test, or take memory on purpose
		}
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			h := r.make(classConcurrent)
			holder, err := r.bind(h.Token())
			if err != nil {
				t.Fatal(err)
			}
			holder.Grant()
			for i, s := range []*mux.Stream{r.raw(argument), holder} {
				send(s, first, second)
				synctest.Wait()
				s.Finish([]byte(fmt.Sprint(i)))
			}
			r.lives()
		})
	})
}

// FuzzReplies sends any items to a handle.
func FuzzReplies(f *testing.F) {
	f.Add(token, replyTo(1, "a"), replyTo(2, "b"), "\x00\x00\x00")
	f.Add("", "\x01\x02\x05a", "\x01\x08\x03int\x05", "")
	f.Add(token, "\x01\x01garbage", "\x01\x01"+string(peer.EncodeShort(context.Canceled)), "\x01\x05\x00")
	f.Fuzz(func(t *testing.T, token, first, second, ending string) {
		synctest.Test(t, func(t *testing.T) {
			host := newFake(t, func(s *mux.Stream) {
				go func() {
					send(s, token)
					_, _ = s.Recv(context.Background())
					_, _ = s.Recv(context.Background())
					send(s, first, second)
					s.Finish([]byte(ending)[:min(len(ending), mux.MaxFinish)])
				}()
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // the bubble's: a host may refuse to answer
			defer cancel()
			if h, err := host.create(ctx); err == nil {
				_, _ = do(ctx, h, "say a")
				_, _ = do(ctx, h, "say b")
				h.Close(nil)
			}
			if err := host.caller.Session().Err(); err != nil {
				t.Fatalf("the link has ended: %v", err)
			}
		})
	})
}
