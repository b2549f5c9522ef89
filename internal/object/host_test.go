package object

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

func TestConstructorThatFails(t *testing.T) {
	for argument, want := range map[string]string{"fail no": "no", "panic ouch": "ouch", "exit": "Goexit", "nil": "neither an object nor an error"} {
		bubble(t, func(t *testing.T, r *rig) {
			h, err := r.create(t.Context(), classThing, argument)
			if h != nil || !strings.Contains(fault(t, err).Message, want) {
				t.Errorf("%q: %v, %v", argument, h, err)
			}
			r.lives()
		})
	}
}

// A constructor is canceled with its caller; what it makes all the same is closed.
func TestConstructorCanceled(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancelCause(t.Context())
		context.AfterFunc(ctx, func() { r.gate("late") <- "" })
		made := make(chan error, 1)
		go func() {
			_, err := r.create(ctx, classThing, "gate late")
			made <- err
		}()
		synctest.Wait()
		r.said("begin gate late")
		enough := errors.New("enough")
		cancel(enough)
		if err := <-made; err != enough {
			t.Error(err)
		}
		r.said("begin gate late", "end gate late", "close")

		ctx, cancel = context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(enough) })
		if _, err := r.create(ctx, classThing, "wait it"); err != enough {
			t.Error(err)
		}
		r.said("begin gate late", "end gate late", "close", "begin wait it", "it: closed by the caller: context canceled: enough", "end wait it")
	})
}

// With a context that has ended nothing is made.
func TestConstructorNotBegun(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		cancel(enough)
		for range 100 {
			if h, err := r.create(ctx, classThing, "say hello"); h != nil || err != enough {
				t.Fatal(h, err)
			}
		}
		r.said()
	})
}

func TestConstructorDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		info := &wire.Info{Attempt: 1, Remaining: time.Second}
		_, err := Create(t.Context(), r.caller, "thing", info, []byte("wait it"), 0, func(peer.Note) {})
		if f := fault(t, err); !errors.Is(f, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// Calls run one at a time, in the order in which they came, whatever the ways in
// which they end.
func TestCallsRunInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classThing)
		other := r.bound(h)
		var results []<-chan result
		var want []string
		for i, input := range []string{"gate a", "say b", "fail c", "panic d", "exit", "say f"} {
			from := h
			if i%2 == 1 {
				from = other
			}
			results = append(results, start(t.Context(), from, input))
			want = append(want, "begin "+input, "end "+input)
		}
		r.said("begin gate a")
		r.gate("a") <- "opened"
		r.said(want...)
		for i, want := range []result{{"opened", nil}, {"b", nil}, {"", errors.New("c")}, {"", errors.New("d")}, {"", errors.New("Goexit")}, {"f", nil}} {
			got := <-results[i]
			if got.out != want.out || (got.err == nil) != (want.err == nil) || want.err != nil && !strings.Contains(got.err.Error(), want.err.Error()) {
				t.Errorf("call %d: %v, want %v", i, got, want)
			}
		}
		if r.most != 1 {
			t.Errorf("%d ran at a time", r.most)
		}
	})
}

func TestConcurrentCallsOverlap(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classConcurrent)
		var results []<-chan result
		for i := range maxActive + 10 {
			results = append(results, start(t.Context(), h, fmt.Sprintf("gate %d", i%7)))
		}
		if r.most != maxActive {
			t.Errorf("%d run at a time", r.most)
		}
		for i, c := range results {
			r.gate(fmt.Sprint(i % 7)) <- "out"
			_ = c
		}
		for _, c := range results {
			if got := <-c; got.out != "out" || got.err != nil {
				t.Error(got)
			}
		}
		if r.most != maxActive {
			t.Errorf("%d ran at a time", r.most)
		}
	})
}

// A slow call of one object holds up no other object.
func TestObjectsDoNotWaitForEachOther(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		slow := r.make(classThing)
		c := start(t.Context(), slow, "gate slow")
		r.lives()
		r.gate("slow") <- "done"
		if got := <-c; got.out != "done" {
			t.Error(got)
		}
	})
}

// The cancel of a call that runs ends its context; one that waits never begins.
func TestCancel(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classThing)
		ctx, cancel := context.WithCancelCause(t.Context())
		queued, drop := context.WithCancelCause(t.Context())
		first, second, third := start(ctx, h, "wait first"), start(queued, h, "say second"), start(t.Context(), h, "say third")
		enough := errors.New("enough")
		for _, end := range []func(error){drop, cancel} {
			end(enough)
			synctest.Wait()
		}
		for _, c := range []<-chan result{first, second} {
			if got := <-c; got.err != enough {
				t.Error(got)
			}
		}
		if got := <-third; got.out != "third" {
			t.Error(got)
		}
		r.said("begin wait first", "first: enough", "end wait first", "begin say third", "end say third")
		if n := h.Open(); n != 0 || h.window.used != 0 {
			t.Errorf("%d requests are open, %d bytes in the window", n, h.window.used)
		}
	})
}

// A cancel that comes right behind its request is not lost, wherever between its
// arrival and its begin the request is.
func TestCancelAtOnce(t *testing.T) {
	for _, class := range []int{classThing, classConcurrent} {
		r := newRig(t)
		h := r.make(class)
		var wg sync.WaitGroup
		for i := range 500 {
			ctx, cancel := context.WithCancel(t.Context())
			wg.Go(func() {
				_, err := do(ctx, h, fmt.Sprintf("wait %d", i))
				if err != context.Canceled {
					t.Error(err)
				}
			})
			cancel()
		}
		wg.Wait()
		r.lives()
		// It comes last, so all of them have ended.
		if out, err := do(t.Context(), h, "say done"); out != "done" || err != nil {
			t.Errorf("%q, %v", out, err)
		}
	}
}

func TestDeadlineTravels(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classThing)
		info := &wire.Info{Function: methodWork, Remaining: time.Minute}
		start(t.Context(), h, "gate busy")
		began := time.Now()
		time.AfterFunc(30*time.Second, func() { r.gate("busy") <- "" })
		_, err := h.Do(t.Context(), &wire.Request{Op: wire.OpCall, Info: info}, []byte("wait it"), nil)
		if f := fault(t, err); !errors.Is(f, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// An object is freed when its maker closes the handle: what runs is canceled,
// what waits never begins, and then Close is called, once.
func TestFree(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classThing)
		other := r.bound(h)
		first, second, third := start(t.Context(), h, "gate stubborn"), start(t.Context(), h, "say second"), start(t.Context(), other, "say third")
		enough := errors.New("enough")
		h.Close(enough)
		h.Close(errors.New("again"))
		for _, c := range []<-chan result{first, second} {
			if got := <-c; got.err != enough {
				t.Error(got)
			}
		}
		var closed *peer.Closed
		if got := <-third; !errors.As(got.err, &closed) || !strings.Contains(got.err.Error(), "closed by who made it") {
			t.Error(got)
		}
		for _, h := range []*Handle{h, other} {
			if _, err := do(t.Context(), h, "say late"); err == nil || err != h.Err() {
				t.Errorf("a call after the end: %v", err)
			}
		}
		if _, err := r.bind(h.Token()); !errors.Is(err, handle.ErrUnreachable) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("bind after the end: %v", err)
		}
		r.said("begin gate stubborn")
		r.gate("stubborn") <- ""
		r.said("begin gate stubborn", "end gate stubborn", "close")
		r.lives()
	})
}

// A holder that leaves has its calls canceled, and only those.
func TestHolderLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classThing)
		other := r.bound(h)
		start(t.Context(), other, "wait holder's")
		start(t.Context(), other, "say never")
		mine := start(t.Context(), h, "say mine")
		other.Close(nil)
		if got := <-mine; got.out != "mine" {
			t.Error(got)
		}
		r.said("begin wait holder's", "holder's: closed by the caller: context canceled: object closed", "end wait holder's", "begin say mine", "end say mine")
	})
}

// The end of the link frees all objects, also those that are being made.
func TestLinkEnds(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classThing)
		c := start(t.Context(), h, "wait it")
		made := make(chan error, 1)
		go func() {
			_, err := r.create(t.Context(), classThing, "gate making")
			made <- err
		}()
		synctest.Wait()
		r.worker.Session().Fail(errors.New("the worker is gone"))
		var lost *peer.Lost
		if got := <-c; !errors.As(got.err, &lost) {
			t.Errorf("%T %v", got.err, got.err)
		}
		if err := <-made; !errors.As(err, &lost) {
			t.Errorf("%T %v", err, err)
		}
		if _, err := do(t.Context(), h, "say late"); !errors.As(err, &lost) {
			t.Errorf("%T %v", err, err)
		}
		if _, err := r.create(t.Context(), classThing, ""); !errors.As(err, &lost) {
			t.Errorf("%T %v", err, err)
		}
		r.gate("making") <- ""
		synctest.Wait()
		closes := 0
		for _, line := range r.lines {
			if line == "close" {
				closes++
			}
		}
		if closes != 2 {
			t.Errorf("%d objects were closed: %q", closes, r.lines)
		}
	})
}

func TestOutputsAndInputsOverTheLimit(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classThing)
		_, err := do(t.Context(), h, fmt.Sprint("size ", testLimit+1))
		if f := fault(t, err); !errors.Is(f, peer.ErrTooLarge) || !strings.Contains(err.Error(), fmt.Sprint(testLimit+1)) || !strings.Contains(err.Error(), fmt.Sprint(testLimit)) {
			t.Error(err)
		}
		if out, err := do(t.Context(), h, fmt.Sprint("size ", testLimit)); err != nil || len(out) != testLimit {
			t.Errorf("%d bytes, %v", len(out), err)
		}
		big := "say " + strings.Repeat("x", testLimit)
		var large *peer.TooLargeError
		if _, err := do(t.Context(), h, big); !errors.As(err, &large) || large.Size != int64(len(big)) || large.Limit != testLimit {
			t.Error(err)
		}
		// A holder does not know the object's limit, only that of its link.
		other := r.bound(h)
		for _, ctx := range []context.Context{context.Background(), t.Context()} {
			if _, err := do(ctx, other, "say "+strings.Repeat("x", testLimit+2<<20)); !errors.Is(err, peer.ErrTooLarge) {
				t.Error(err)
			}
		}
		if out, err := do(t.Context(), other, big[:testLimit]); err != nil || len(out) != testLimit-4 {
			t.Errorf("%d bytes, %v", len(out), err)
		}
		if h.Open()+other.Open()+h.window.used+other.window.used != 0 {
			t.Error("something is left")
		}
	})
}

// Names and arities are the business of package member; what it says arrives.
func TestMembersByName(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classThing)
		ask := func(op byte, name string, input []byte) (wire.Reply, error) {
			return h.Do(t.Context(), &wire.Request{Op: op, Member: name, Info: &wire.Info{}}, input, nil)
		}
		reply, err := ask(wire.OpInvoke, "Add", wire.AppendArguments(nil, [][]byte{encoded(t, 5)}))
		if err != nil || string(reply.Payload) != string(encoded(t, 5)) || reply.Type != "int" {
			t.Errorf("%+v, %v", reply, err)
		}
		if reply, err = ask(wire.OpSet, "Total", encoded(t, 7)); err != nil || reply.Status&wire.StatusNone == 0 {
			t.Errorf("%+v, %v", reply, err)
		}
		if reply, err = ask(wire.OpGet, "Total", nil); err != nil || string(reply.Payload) != string(encoded(t, 7)) {
			t.Errorf("%+v, %v", reply, err)
		}
		if _, err = ask(wire.OpGet, "Totl", nil); !errors.Is(err, registry.ErrUnknown) || !strings.Contains(err.Error(), "Total int") {
			t.Error(err)
		}
		if _, err = ask(wire.OpInvoke, "Add", nil); errors.Is(err, registry.ErrUnknown) || err == nil {
			t.Error(err)
		}
		if _, err = ask(wire.OpInvoke, "Add", []byte{200, 1}); !errors.Is(fault(t, err), err) || err == nil {
			t.Error(err)
		}
		info := &wire.Info{Function: classThing}
		if _, err = h.Do(t.Context(), &wire.Request{Op: wire.OpCall, Info: info}, nil, nil); !strings.Contains(fault(t, err).Message, "not a method") {
			t.Error(err)
		}
	})
}

// A stream that ends in the moment in which it is taken is nobody's.
func TestStreamThatHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classThing)
		s, err := r.worker.Session().Open([]byte{wire.PurposeHandle}, mux.StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s.Finish(nil)
		x, _, err := r.home.Own(r.home.Handle(h.Token(), "", 0))
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Hold(s, nil); err != nil {
			t.Error(err)
		}
		if err := r.host.Create(s, wire.NewReader((&wire.Info{}).Append(nil))); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := len(x.(*instance).holders); n != 0 {
			t.Errorf("%d holders", n)
		}
		r.lives()
	})
}
