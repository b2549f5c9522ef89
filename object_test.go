package afar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// cellar is the object of these tests.
type cellar struct {
	Total  int
	order  []int
	closes visit // where Close goes, if it does
}

// lock says how a cellar is made.
type lock struct {
	Do    string // what goes wrong, if anything
	Visit visit  // of the constructor
	Close visit  // of Close
	Total int
}

var (
	cellars       = afar.Class(newCellar)
	sharedCellars = afar.Class(newSharedCellar).Concurrent()

	deposit  = afar.Method((*cellar).Deposit)
	inspect  = afar.Method((*cellar).Inspect)
	weigh    = afar.Method((*cellar).Weigh)
	question = afar.Method((*cellar).Question)
	crack    = afar.Method((*cellar).Crack)
	narrate  = afar.Method((*cellar).Narrate)
	// A function of another form than a method's.
	ordered = afar.Method(orderOf)
)

func newCellar(ctx context.Context, l lock) (*cellar, error) {
	switch l.Do {
	case "fail":
		return nil, fmt.Errorf("no room: %w", os.ErrPermission)
	case "panic":
		panic("no door")
	case "goexit":
		runtime.Goexit()
	case "nothing":
		return nil, nil
	case "log":
		afar.Logger(ctx).Info("building", "header", afar.Header(ctx)["trace"])
	}
	if l.Visit.Desk != "" {
		if _, err := visitDesk(ctx, l.Visit); err != nil {
			return nil, err
		}
	}
	return &cellar{Total: l.Total, closes: l.Close}, nil
}

func newSharedCellar(ctx context.Context, l lock) (*cellar, error) { return newCellar(ctx, l) }

// Deposit adds to the total.
func (v *cellar) Deposit(_ context.Context, n int) (int, error) {
	v.Total += n
	v.order = append(v.order, n)
	return v.Total, nil
}

// Inspect goes to a desk.
func (v *cellar) Inspect(ctx context.Context, to visit) (string, error) { return visitDesk(ctx, to) }

// Weigh returns as many bytes as it got, or as it is told.
func (v *cellar) Weigh(_ context.Context, b []byte) ([]byte, error) {
	if n := 0; bytes.HasPrefix(b, []byte("return ")) {
		_, err := fmt.Sscan(string(b[7:]), &n)
		return make([]byte, n), err
	}
	return b, nil
}

// Question answers questions about the call.
func (v *cellar) Question(ctx context.Context, what string) (string, error) {
	switch what {
	case "deadline":
		at, ok := ctx.Deadline()
		return fmt.Sprint(ok && time.Until(at) > 0), nil
	case "header":
		return afar.Header(ctx)["trace"], nil
	case "caller":
		sum := 0
		for out, err := range square.Map(ctx, afar.Caller(ctx), numbers(5)) {
			if err != nil {
				return "", err
			}
			sum += out
		}
		return fmt.Sprint(sum), nil
	case "wait":
		<-ctx.Done()
		return "", ctx.Err()
	}
	return "", fmt.Errorf("%s: %w", what, os.ErrNotExist)
}

// Crack does not end as it should.
func (v *cellar) Crack(_ context.Context, how string) (int, error) {
	v.Total++
	if how == "goexit" {
		runtime.Goexit()
	}
	panic(how)
}

// Narrate logs and reports its progress.
func (v *cellar) Narrate(ctx context.Context, n int) (int, error) {
	for i := range n {
		afar.Logger(ctx).Info("chapter", "n", i)
		afar.Progress(ctx, int64(i+1), int64(n))
	}
	return n, nil
}

// Close goes to a desk, if it is to.
func (v *cellar) Close() error {
	if v.closes.Desk == "" {
		return nil
	}
	_, err := visitDesk(context.Background(), v.closes)
	return err
}

func orderOf(v *cellar, _ context.Context, _ struct{}) ([]int, error) { return v.order, nil }

// newObject makes an object that is closed at the end of the test.
func newObject[T, A any](t testing.TB, c *afar.ClassOf[T, A], at afar.Opener, a A) *afar.Object[T] {
	t.Helper()
	o, err := c.New(within(t), at, a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

// calling calls a method in the background.
func calling[T, In, Out any](t testing.TB, ctx context.Context, m *afar.MethodOf[T, In, Out], o *afar.Object[T], in In) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := m.On(o)(ctx, in)
		ended <- err
	}()
	return ended
}

// objects is how many objects a pool's workers have, and calls of them.
func objects(pool *afar.Pool) (n, calls int) {
	for _, w := range pool.Status().Workers {
		for _, o := range w.Objects {
			n++
			calls += o.Calls
		}
	}
	return n, calls
}

func TestConstructorsThatFail(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		pool := open(t, scheme+":1?id=w")
		for do, matches := range map[string]func(*afar.RemoteError) bool{
			"fail": func(e *afar.RemoteError) bool {
				return errors.Is(e, os.ErrPermission) && strings.HasPrefix(e.Message, "no room") && !e.Panic
			},
			"panic": func(e *afar.RemoteError) bool {
				return e.Panic && e.Message == "no door" && strings.Contains(e.Stack, "newCellar")
			},
			"goexit":  func(e *afar.RemoteError) bool { return e.Panic && strings.Contains(e.Message, "Goexit") },
			"nothing": func(e *afar.RemoteError) bool { return strings.Contains(e.Message, "neither an object nor an error") },
		} {
			o, err := cellars.New(ctx, pool, lock{Do: do})
			var remote *afar.RemoteError
			if o != nil || !errors.As(err, &remote) || !matches(remote) || remote.Worker != "w" || remote.Function != cellars.Name() {
				t.Errorf("%s: %v, %#v", do, o, err)
			}
		}
		if n, _ := objects(pool); n != 0 {
			t.Errorf("%d objects", n)
		}
		for what, at := range map[string]afar.Opener{"no Opener": nil, "no Gateway": (*afar.Gateway)(nil), "no Pool": (*afar.Pool)(nil)} {
			if _, err := cellars.New(ctx, at, lock{}); err == nil || !strings.Contains(err.Error(), "Opener") {
				t.Errorf("%s: %v", what, err)
			}
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := cellars.New(gone, pool, lock{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
		if _, err := cellars.New(ctx, pool, lock{}); !errors.Is(err, afar.ErrClosed) {
			t.Error(err)
		}
	})
}

// New that is given up returns at once. The constructor's context ends, and what
// it makes all the same is freed.
func TestConstructorCanceled(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		for _, stubborn := range []bool{false, true} {
			ctx, cancel := context.WithCancelCause(within(t))
			made := make(chan error, 1)
			go func() {
				_, err := cellars.New(ctx, pool, lock{Visit: visit{Desk: d.addr(), Name: "constructor", Stubborn: stubborn}, Close: visit{Desk: d.addr(), Name: "closer"}})
				made <- err
			}()
			v := d.next(t)
			cancel(errors.New("changed my mind"))
			if err := receive(t, made); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "changed my mind") {
				t.Error(err)
			}
			if n, _ := objects(pool); n != 0 {
				t.Errorf("%d objects", n)
			}
			if !stubborn {
				if said, err := v.says(t); err != nil || !strings.Contains(said, "changed my mind") {
					t.Errorf("the constructor's context says %q, %v", said, err)
				}
				continue
			}
			v.release("go on")
			closer := d.next(t)
			if closer.name != "closer" {
				t.Errorf("%q at the desk", closer.name)
			}
			closer.release("bye")
		}
	})
}

// awaited is a context that says when somebody waits for its end.
type awaited struct {
	context.Context
	waits chan struct{}
}

// Done says that.
func (a *awaited) Done() <-chan struct{} {
	select {
	case a.waits <- struct{}{}:
	default:
	}
	return a.Context.Done()
}

// Calls run one at a time in the order in which they came, through whatever
// handle, and the state is that of the object.
func TestMethodsRunInOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx, d := within(t), newDesk(t)
		pool := open(t, scheme+":1")
		o := newObject(t, cellars, pool, lock{Total: 1000})
		again, err := o.Ref().Bind(ctx)
		if err != nil {
			t.Fatal(err)
		}
		first := calling(t, ctx, inspect, o, visit{Desk: d.addr()})
		v := d.next(t)
		var all []<-chan error
		var want []int
		total := 1000
		for i := range 50 {
			sent := &awaited{Context: ctx, waits: make(chan struct{}, 1)}
			all = append(all, calling(t, sent, deposit, o, i))
			receive(t, sent.waits) // for the reply: it is sent
			want, total = append(want, i), total+i
		}
		v.release("done")
		for _, c := range append(all, first) {
			if err := receive(t, c); err != nil {
				t.Error(err)
			}
		}
		if got, err := ordered.On(again)(ctx, struct{}{}); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %v", got, err)
		}
		if got, err := deposit.On(again)(ctx, 0); err != nil || got != total {
			t.Errorf("%d, %v, want %d", got, err, total)
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for i := range 100 {
					if _, err := deposit.On([]*afar.Object[cellar]{o, again}[i%2])(ctx, 1); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got, err := deposit.On(o)(ctx, 0); err != nil || got != total+2000 {
			t.Errorf("%d, %v, want %d: updates were lost", got, err, total+2000)
		}
	})
}

// Methods of a concurrent class overlap; other objects, and the worker's one slot
// for calls, are not touched by a method that takes long, nor by a long call.
func TestWhoWaitsForWhom(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx, d := within(t), newDesk(t)
		pool := open(t, scheme+":1")
		shared, slow, quick := newObject(t, sharedCellars, pool, lock{}), newObject(t, cellars, pool, lock{}), newObject(t, cellars, pool, lock{})
		var ended []<-chan error
		var visitors []*visitor
		for _, o := range []*afar.Object[cellar]{shared, shared, shared, slow} {
			ended = append(ended, calling(t, ctx, inspect, o, visit{Desk: d.addr()}))
			visitors = append(visitors, d.next(t))
		}
		call, called := waiting(t, ctx, pool, d)
		for _, o := range []*afar.Object[cellar]{quick, shared} {
			if _, err := deposit.On(o)(ctx, 1); err != nil {
				t.Error(err)
			}
		}
		call.release("done")
		if o := receive(t, called); o.err != nil {
			t.Error(o.err)
		}
		if out, err := square.On(pool)(ctx, 7); err != nil || out != 49 {
			t.Errorf("a call beside methods: %d, %v", out, err)
		}
		for i, v := range visitors {
			v.release("done")
			if err := receive(t, ended[i]); err != nil {
				t.Error(err)
			}
		}
	})
}

// A canceled call returns at once. The context of the method ends, and a call that
// waits for its turn never begins; the object lives on.
func TestMethodCanceled(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		o := newObject(t, cellars, pool, lock{})
		for _, stubborn := range []bool{false, true} {
			ctx, cancel := context.WithCancelCause(within(t))
			waits, drop := context.WithCancelCause(within(t))
			running := calling(t, ctx, inspect, o, visit{Desk: d.addr(), Stubborn: stubborn})
			v := d.next(t)
			var queued []<-chan error
			for range 3 {
				queued = append(queued, calling(t, waits, deposit, o, 1))
			}
			until(t, "the calls wait", func() bool { _, calls := objects(pool); return calls == 4 })
			drop(errors.New("changed my mind"))
			for _, q := range queued {
				if err := receive(t, q); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "changed my mind") {
					t.Error(err)
				}
			}
			until(t, "the calls are forgotten", func() bool { _, calls := objects(pool); return calls == 1 })
			cancel(errors.New("enough"))
			if err := receive(t, running); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "enough") {
				t.Error(err)
			}
			if stubborn {
				v.release("done")
			} else if said, err := v.says(t); err != nil || !strings.Contains(said, "enough") {
				t.Errorf("the method's context says %q, %v", said, err)
			}
			if total, err := afar.Get[int](within(t), o, "Total"); err != nil || total != 0 {
				t.Errorf("%d, %v: a canceled call has run", total, err)
			}
		}
	})
}

// What a call's context holds travels; what the method logs comes before its reply
// to the call's own handlers.
func TestMethodContext(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		book, own := &diary{}, &diary{}
		pool := openWith(t, afar.Config{Log: book, Stderr: io.Discard, Header: func(context.Context) map[string]string {
			return map[string]string{"trace": "pool's"}
		}}, scheme+":1?id=w")
		ctx := context.Background()
		o, err := cellars.New(afar.WithHeader(afar.WithLog(ctx, own), "trace", "maker's"), pool, lock{Do: "log"})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		if p := own.read(); len(p) != 1 || p[0]["msg"] != "building" || p[0]["header"] != "maker's" || p[0]["worker"] != "w" {
			t.Errorf("the constructor's records: %v", p)
		}
		for what, want := range map[string]struct {
			ctx  context.Context
			want string
		}{
			"deadline": {ctx, "false"}, "deadline ": {within(t), "true"}, "caller": {ctx, "30"},
			"header": {ctx, "pool's"}, "header ": {afar.WithHeader(ctx, "trace", "call's"), "call's"},
		} {
			if got, err := question.On(o)(want.ctx, strings.TrimSpace(what)); err != nil || got != want.want {
				t.Errorf("%s: %q, %v, want %q", what, got, err, want.want)
			}
		}
		late, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		if _, err := question.On(o)(late, "wait"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		_, err = question.On(o)(ctx, "why")
		var remote *afar.RemoteError
		if !errors.As(err, &remote) || !errors.Is(err, os.ErrNotExist) || remote.Function != question.Name() || remote.Worker != "w" {
			t.Errorf("%#v", err)
		}
		for _, diary := range []*diary{{}, {}} {
			var steps []int64
			told := func(worker string, done, total int64) {
				if worker == "w" && total == 100 {
					steps = append(steps, done)
				}
			}
			if _, err := narrate.On(o)(afar.WithProgress(afar.WithLog(ctx, diary), told), 100); err != nil {
				t.Fatal(err)
			}
			pages := diary.read() // all are here, since the reply is
			for i, p := range pages {
				if p["n"] != int64(i) || p["worker"] != "w" || p["call"] == nil {
					t.Errorf("record %d: %v", i, p)
				}
			}
			if len(pages) != 100 || len(steps) == 0 || steps[len(steps)-1] != 100 {
				t.Errorf("%d records, progress %v", len(pages), steps)
			}
		}
		if n := len(own.read()); n != 1 {
			t.Errorf("%d records at the maker's handler", n)
		}
		if _, err := narrate.On(o)(ctx, 3); err != nil {
			t.Error(err)
		}
	})
}
