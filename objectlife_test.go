package afar_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/afar-go/afar"
)

// How objects live and end.

// A method that panics ends its call, and the object lives on.
func TestMethodsThatPanic(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		pool := open(t, scheme+":1?id=w")
		o := newObject(t, cellars, pool, lock{})
		for i, how := range []string{"ouch", "goexit", "ouch again"} {
			_, err := crack.On(o)(ctx, how)
			var remote *afar.RemoteError
			if !errors.As(err, &remote) || !remote.Panic || remote.Worker != "w" || remote.Function != crack.Name() {
				t.Fatalf("%s: %#v", how, err)
			}
			if how != "goexit" && (remote.Message != how || !strings.Contains(remote.Stack, "Crack")) || how == "goexit" && !strings.Contains(remote.Message, "Goexit") {
				t.Errorf("%s: %+v", how, remote)
			}
			if total, err := afar.Get[int](ctx, o, "Total"); err != nil || total != i+1 {
				t.Errorf("%d, %v after %d calls", total, err, i+1)
			}
		}
	})
}

// Close frees the object: the status shows it gone, what runs is canceled and not
// waited for, what waits never begins, and Close of the value itself is called
// once, when nothing runs any more.
func TestObjectClose(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx, d := within(t), newDesk(t)
		pool := open(t, scheme+":1")
		o := newObject(t, cellars, pool, lock{Close: visit{Desk: d.addr(), Name: "closer"}})
		holder, err := o.Ref().Bind(ctx)
		if err != nil {
			t.Fatal(err)
		}
		running := calling(t, ctx, inspect, o, visit{Desk: d.addr(), Name: "method", Stubborn: true})
		v := d.next(t)
		waits, held := calling(t, ctx, deposit, o, 1), calling(t, ctx, deposit, holder, 1)
		until(t, "the call waits", func() bool { _, calls := objects(pool); return calls == 2 })
		for range 2 {
			if err := o.Close(); err != nil {
				t.Error(err)
			}
		}
		for _, c := range []<-chan error{running, waits, held} {
			if err := receive(t, c); !errors.Is(err, afar.ErrClosed) || !strings.Contains(err.Error(), "ellar") {
				t.Error(err)
			}
		}
		if n, _ := objects(pool); n != 0 {
			t.Errorf("%d objects", n)
		}
		for what, use := range map[string]func() error{
			"a method": func() error { _, err := deposit.On(o)(ctx, 1); return err },
			"Get":      func() error { _, err := afar.Get[int](ctx, o, "Total"); return err },
			"a holder": func() error { _, err := deposit.On(holder)(ctx, 1); return err },
			"Set":      func() error { return afar.Set(ctx, holder, "Total", 1) },
			"no object": func() error {
				_, err := deposit.On(nil)(ctx, 1)
				return fmt.Errorf("%w: %w", afar.ErrClosed, err)
			},
		} {
			if err := use(); !errors.Is(err, afar.ErrClosed) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := o.Ref().Bind(ctx); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("bind after Close: %v", err)
		}
		v.release("done")
		closer := d.next(t)
		if closer.name != "closer" {
			t.Errorf("%q at the desk", closer.name)
		}
		closer.release("bye")
	})
}

// Close of a holder gives up the handle only, and cancels what it has called.
func TestHolderOfAnObjectCloses(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx, d := within(t), newDesk(t)
		pool := open(t, scheme+":1")
		o := newObject(t, cellars, pool, lock{})
		bind, end := context.WithCancelCause(ctx)
		for i, give := range []func(*afar.Object[cellar]){func(h *afar.Object[cellar]) { _ = h.Close() }, func(*afar.Object[cellar]) { end(errors.New("my turn is over")) }} {
			holder, err := o.Ref().Bind(bind)
			if err != nil {
				t.Fatal(err)
			}
			running := calling(t, ctx, inspect, holder, visit{Desk: d.addr()})
			v := d.next(t)
			give(holder)
			if err := receive(t, running); i == 0 && !errors.Is(err, afar.ErrClosed) || i == 1 && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if said, err := v.says(t); err != nil || !strings.Contains(said, "canceled") {
				t.Errorf("the method's context says %q, %v", said, err)
			}
			if _, err := deposit.On(o)(ctx, 1); err != nil {
				t.Errorf("the owner's call: %v", err)
			}
		}
	})
}

var ownedCellars = afar.Class(newSettler)

// newSettler stays at a desk for as long as its process lives.
func newSettler(_ context.Context, v visit) (*cellar, error) {
	conn, err := arrive(v.Desk, v.Name)
	if err != nil {
		return nil, err
	}
	keep(conn)
	return &cellar{}, nil
}

func init() {
	// owner has an object in a worker, and calls it for ever.
	roles["owner"] = func() {
		ctx, at := context.Background(), os.Getenv(deskVariable)
		pool, err := afar.Open(ctx, "local:1")
		if err != nil {
			panic(err)
		}
		o, err := ownedCellars.New(ctx, pool, visit{Desk: at, Name: "worker"})
		if err != nil {
			panic(err)
		}
		fmt.Println("ready")
		_, _ = question.On(o)(ctx, "wait")
	}
}

// Objects of a caller that is gone are freed: with the worker, or by the end of the
// pool.
func TestObjectsOfACallerThatIsGone(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		d := newDesk(t)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), roleVariable+"=owner", deskVariable+"="+d.addr())
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Fatalf("%q, %v", line, err)
		}
		v := d.next(t)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		v.gone(t)
	})
	t.Run("inproc", func(t *testing.T) {
		ctx, d := within(t), newDesk(t)
		pool := open(t, "inproc:1")
		o := newObject(t, cellars, pool, lock{Close: visit{Desk: d.addr(), Name: "closer"}})
		running := calling(t, ctx, question, o, "wait")
		until(t, "the call is sent", func() bool { _, calls := objects(pool); return calls == 1 })
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
		if err := receive(t, running); !errors.Is(err, afar.ErrClosed) {
			t.Error(err)
		}
		if _, err := deposit.On(o)(ctx, 1); !errors.Is(err, afar.ErrClosed) {
			t.Error(err)
		}
		d.next(t).release("bye")
	})
}

// A worker that is killed ends all that is open with the reason, at once: fifty
// channels and fifty objects, calls that run and those that wait, and every later
// use.
func TestWorkerKilledWithConversations(t *testing.T) {
	const each = 50
	ctx := within(t)
	pool := open(t, "local:1?id=w")
	pid := pool.Status().Workers[0].PID
	killed := func(what string, err error) {
		t.Helper()
		var lost *afar.WorkerLostError
		if !errors.As(err, &lost) || !errors.Is(err, afar.ErrWorkerLost) || lost.Signal != "killed" || lost.PID != pid || lost.Worker != "w" || lost.Host == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	type end struct {
		what string
		err  error
	}
	ends := make(chan end, 4*each)
	var all []*afar.Object[cellar]
	for range each {
		ch := start(t, parrot, pool)
		go func() { _, err := ch.Recv(ctx); ends <- end{"Recv", err} }()
		go func() { ends <- end{"Wait", ch.Wait(ctx)} }()
		o := newObject(t, cellars, pool, lock{})
		all = append(all, o)
		go func() { _, err := question.On(o)(ctx, "wait"); ends <- end{"a call", err} }()
		go func() { _, err := deposit.On(o)(ctx, 1); ends <- end{"another call", err} }()
	}
	until(t, "everything is under way", func() bool {
		n, calls := objects(pool)
		return n == each && calls >= each && len(pool.Status().Workers[0].Channels) == each
	})
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 4 * each {
		if e := receive(t, ends); e.what != "another call" || e.err != nil {
			killed(e.what, e.err)
		}
	}
	for _, o := range all {
		_, err := deposit.On(o)(ctx, 1)
		killed("a later call", err)
		if _, err := o.Ref().Bind(ctx); err == nil || !strings.Contains(err.Error(), "gone") {
			t.Errorf("bind: %v", err)
		}
	}
	// The worker that replaces it knows nothing of them, and is as good.
	if n, _ := objects(pool); n != 0 {
		t.Errorf("%d objects", n)
	}
	if total, err := deposit.On(newObject(t, cellars, pool, lock{Total: 1}))(ctx, 1); err != nil || total != 2 {
		t.Errorf("%d, %v", total, err)
	}
}

// A constructor whose worker dies is the worker's loss.
func TestWorkerLostWhileConstructing(t *testing.T) {
	d := newDesk(t)
	pool := open(t, "local:1")
	made := make(chan error, 1)
	go func() {
		_, err := cellars.New(within(t), pool, lock{Visit: visit{Desk: d.addr()}})
		made <- err
	}()
	d.next(t)
	if err := pool.Gateways()[0].Kill(); err != nil {
		t.Error(err)
	}
	if err := receive(t, made); !errors.Is(err, afar.ErrWorkerLost) || !strings.Contains(err.Error(), "newCellar") {
		t.Error(err)
	}
}

// An object that nobody has closed is closed when nobody has it any more, and that
// is logged; one that is in use is not.
func TestObjectDropped(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		book, d := &diary{}, newDesk(t)
		pool := openWith(t, afar.Config{Log: book}, scheme+":1")
		make := func(name string) *afar.Object[cellar] {
			o, err := cellars.New(within(t), pool, lock{Close: visit{Desk: d.addr(), Name: name}})
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		inUse := func() <-chan error {
			return calling(t, within(t), inspect, make("used"), visit{Desk: d.addr(), Name: "method"})
		}()
		method := d.next(t)
		ref := make("dropped").Ref()
		if err := make("closed").Close(); err != nil {
			t.Error(err)
		}
		seen := map[string]int{}
		collect(t, "what was dropped is closed", func() bool { return book.entries("never closed") > 0 })
		for range 2 {
			v := d.next(t)
			seen[v.name]++
			v.release("bye")
		}
		if seen["dropped"] != 1 || seen["closed"] != 1 || book.entries("never closed") != 1 {
			t.Errorf("%v, logged %d times", seen, book.entries("never closed"))
		}
		if _, err := ref.Bind(within(t)); err == nil {
			t.Error("a handle on what was dropped")
		}
		method.release("done")
		if err := receive(t, inUse); err != nil {
			t.Errorf("a call of an object that only the call had: %v", err)
		}
		collect(t, "that one is closed, too", func() bool { return book.entries("never closed") == 2 })
		d.next(t).release("bye")
	})
}

// Inputs and outputs over the limit are refused with both sizes, wherever they are
// found to be so, and harm nobody.
func TestObjectItemsTooLarge(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		pool := openWith(t, afar.Config{MaxItem: 3 << 20}, scheme+":1")
		o := newObject(t, cellars, pool, lock{})
		holder, err := o.Ref().Bind(ctx)
		if err != nil {
			t.Fatal(err)
		}
		big := bytes.Repeat([]byte("x"), 5<<20)
		for what, use := range map[string]func() error{
			"input":          func() error { _, err := weigh.On(o)(ctx, big); return err },
			"holder's input": func() error { _, err := weigh.On(holder)(ctx, big); return err },
			"output":         func() error { _, err := weigh.On(o)(ctx, fmt.Append(nil, "return ", len(big))); return err },
			"holder's":       func() error { _, err := weigh.On(holder)(ctx, fmt.Append(nil, "return ", len(big))); return err },
			"argument":       func() error { _, err := afar.Invoke[[]byte](ctx, o, "Weigh", big); return err },
		} {
			if err := use(); !errors.Is(err, afar.ErrTooLarge) || !strings.Contains(err.Error(), fmt.Sprint(len(big)>>20)) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := cellars.New(ctx, pool, lock{Do: string(big)}); !errors.Is(err, afar.ErrTooLarge) {
			t.Errorf("the constructor's argument: %v", err)
		}
		header := afar.WithHeader(ctx, "trace", string(big[:100_000]))
		if _, err := cellars.New(header, pool, lock{}); !errors.Is(err, afar.ErrTooLarge) {
			t.Errorf("the constructor's headers: %v", err)
		}
		if _, err := parrot.Start(header, pool); !errors.Is(err, afar.ErrTooLarge) {
			t.Errorf("a routine's headers: %v", err)
		}
		if trace, err := question.On(o)(header, "header"); err != nil || len(trace) != 100_000 {
			t.Errorf("a method's headers: %d bytes, %v", len(trace), err)
		}
		for _, h := range []*afar.Object[cellar]{o, holder} {
			if out, err := weigh.On(h)(ctx, big[:2<<20]); err != nil || !bytes.Equal(out, big[:2<<20]) {
				t.Errorf("%d bytes, %v", len(out), err)
			}
		}
	})
}

// A call with a large input that is given up, in whatever moment, ends that call.
func TestLargeInputGivenUp(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		o := newObject(t, cellars, pool, lock{})
		big := make([]byte, 6<<20)
		var wg sync.WaitGroup
		for range 20 {
			ctx, cancel := context.WithCancel(within(t))
			wg.Go(func() {
				if _, err := weigh.On(o)(ctx, big); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
			wg.Go(cancel)
		}
		wg.Wait()
		if out, err := weigh.On(o)(within(t), big); err != nil || len(out) != len(big) {
			t.Errorf("%d bytes, %v", len(out), err)
		}
	})
}

// A thousand objects in one worker, each with its own state.
func TestThousandObjects(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		const many = 1000
		ctx := within(t)
		pool := open(t, scheme+":2")
		all := make([]*afar.Object[cellar], many)
		var wg sync.WaitGroup
		for i := range all {
			wg.Go(func() {
				o, err := cellars.New(ctx, pool, lock{Total: i})
				if err != nil {
					t.Error(err)
					return
				}
				all[i] = o
				if total, err := deposit.On(o)(ctx, 1); err != nil || total != i+1 {
					t.Errorf("object %d: %d, %v", i, total, err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		for _, w := range pool.Status().Workers {
			if len(w.Objects) < many/4 {
				t.Errorf("%d of the objects are in one of the workers", len(w.Objects))
			}
		}
		for _, o := range all {
			_ = o.Close()
		}
		if n, _ := objects(pool); n != 0 {
			t.Errorf("%d objects", n)
		}
	})
}

// Objects do not hold up a Shutdown, of the pool or the gateway.
func TestShutdownWithObjects(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		pool := open(t, scheme+":2")
		first, second := newObject(t, cellars, pool.Gateways()[0], lock{}), newObject(t, cellars, pool.Gateways()[1], lock{})
		if err := pool.Gateways()[0].Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if _, err := deposit.On(first)(ctx, 1); !errors.Is(err, afar.ErrClosed) {
			t.Error(err)
		}
		if o, err := cellars.New(ctx, pool, lock{}); err != nil {
			t.Error(err)
		} else if _, err := deposit.On(o)(ctx, 1); err != nil {
			t.Error(err)
		}
		if err := pool.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if _, err := deposit.On(second)(ctx, 1); !errors.Is(err, afar.ErrClosed) {
			t.Error(err)
		}
	})
}
