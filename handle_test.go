package afar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"

	"github.com/afar-go/afar"
)

// line is one end of a channel of numbers, as a handle.
type line = afar.ChannelRef[int, int]

// errand is what somebody does with a handle.
type errand struct {
	Line   line
	Lines  []line
	Lists  map[string]line
	Within struct{ Line *line }
	Cellar *afar.ObjectRef[cellar] // where it deposits N instead

	Do    string // in words
	N     int
	Begin visit  // once it has what it needs
	Visit visit  // before the end
	End   string // how it ends: "fail", "panic", "goexit", "leave", which closes nothing, or well
}

// find returns the handle, wherever in the errand it is.
func (e *errand) find() line {
	for _, l := range e.Lines {
		return l
	}
	for _, l := range e.Lists {
		return l
	}
	if e.Within.Line != nil {
		return *e.Within.Line
	}
	return e.Line
}

// The same errands are done by functions, routines and methods.
var (
	errands      = afar.Func(doErrand)
	errandRunner = afar.Routine(runErrands)
	clerks       = afar.Class(newClerk)
	clerkErrand  = afar.Method((*clerk).Run)
	mirror       = afar.Routine(mirrorItems)
	lineFunction = afar.Func(passLine)
)

type clerk struct{}

func newClerk(context.Context, struct{}) (*clerk, error) { return &clerk{}, nil }

// Run does an errand.
func (c *clerk) Run(ctx context.Context, e errand) (int, error) { return doErrand(ctx, e) }

func runErrands(ctx context.Context, ch *afar.Channel[int, errand]) error {
	e, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	n, err := doErrand(ctx, e)
	if err != nil {
		return err
	}
	return ch.Send(ctx, n)
}

// doErrand returns a sum of what it received.
func doErrand(ctx context.Context, e errand) (sum int, err error) {
	if e.Cellar != nil {
		o, err := e.Cellar.Bind(ctx)
		if err != nil {
			return 0, err
		}
		return deposit.On(o)(ctx, e.N)
	}
	ch, err := e.find().Bind(ctx)
	if err != nil {
		return 0, err
	}
	if e.End == "" {
		defer ch.Close()
	}
	if e.Begin.Desk != "" {
		if _, err := visitDesk(ctx, e.Begin); err != nil {
			return 0, err
		}
	}
	recv := func(n int) error {
		for range n {
			item, err := ch.Recv(ctx)
			if err != nil {
				return err
			}
			sum += item
		}
		return nil
	}
	switch e.Do {
	case "echo":
		for i := range e.N {
			if err := ch.Send(ctx, i+1); err != nil {
				return sum, err
			}
			if err := recv(1); err != nil {
				return sum, err
			}
		}
	case "send", "send all":
		for i := range e.N {
			if err := ch.Send(ctx, i+1); err != nil {
				return i, err
			}
		}
		if e.Do == "send all" {
			err = ch.CloseSend()
		}
	case "receive":
		err = recv(e.N)
	case "receive all":
		if err = recv(1 << 60); err == io.EOF {
			err = nil
		}
	case "wait":
		err = ch.Wait(ctx)
	}
	if err != nil {
		return sum, err
	}
	if e.Visit.Desk != "" {
		if _, err := visitDesk(ctx, e.Visit); err != nil {
			return sum, err
		}
	}
	return sum, end(e.End)
}

func end(how string) error {
	switch how {
	case "fail":
		return fmt.Errorf("the errand went wrong: %w", os.ErrInvalid)
	case "panic":
		panic("the errand went wrong")
	case "goexit":
		runtime.Goexit()
	}
	return nil
}

// mirrorItems sends back what it receives. A negative number ends it: -1 with an
// error, -2 with a panic, and -3 well.
func mirrorItems(ctx context.Context, ch *afar.Channel[int, int]) error {
	for n, err := range ch.All(ctx) {
		switch {
		case err != nil:
			return err
		case n == -1:
			return fmt.Errorf("the mirror broke: %w", os.ErrClosed)
		case n == -2:
			panic("the mirror broke")
		case n == -3:
			return nil
		}
		if err := ch.Send(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// passLine returns a handle that it got.
func passLine(_ context.Context, l line) (line, error) { return l, nil }

// doing says who does errands, and where.
type doing func(t *testing.T, ctx context.Context, at *afar.Gateway, e errand) <-chan outcome

// doers are the sorts of remote code that do errands.
var doers = map[string]doing{
	"function": func(_ *testing.T, ctx context.Context, at *afar.Gateway, e errand) <-chan outcome {
		return aside(func() (int, error) { return errands.On(afar.With(at, afar.Policy{MaxAttempts: 1}))(ctx, e) })
	},
	"routine": func(t *testing.T, ctx context.Context, at *afar.Gateway, e errand) <-chan outcome {
		ch := start(t, errandRunner, at)
		send(t, ch, e)
		return aside(func() (int, error) {
			n, err := ch.Recv(ctx)
			if err == nil {
				err = ch.Wait(ctx) // it has given back what it bound
			}
			return n, err
		})
	},
	"method": func(t *testing.T, ctx context.Context, at *afar.Gateway, e errand) <-chan outcome {
		o := newObject(t, clerks, at, struct{}{})
		return aside(func() (int, error) { return clerkErrand.On(o)(ctx, e) })
	},
}

func aside(f func() (int, error)) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		out, err := f()
		c <- outcome{fmt.Sprint(out), err}
	}()
	return c
}

// places are gateways by where they are in relation to the routine that a handle
// is about, which runs in the first.
func places(t *testing.T, scheme string) map[string]*afar.Gateway {
	t.Helper()
	one, other := open(t, scheme+":2?id=x"), open(t, scheme+":1?id=z")
	return map[string]*afar.Gateway{"same worker": one.Gateways()[0], "same pool": one.Gateways()[1], "other pool": other.Gateways()[0]}
}

// A channel's end works wherever its handle arrives, in whatever it travels, for
// whatever remote code.
func TestHandlesArrive(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		at := places(t, scheme)
		for where, gateway := range at {
			for who, do := range doers {
				ch := start(t, mirror, at["same worker"])
				ref := ch.Ref()
				for in, e := range map[string]errand{"field": {Line: ref}, "slice": {Lines: []line{ref}}, "map": {Lists: map[string]line{"a": ref}},
					"pointer": {Within: struct{ Line *line }{&ref}}} {
					e.Do, e.N = "echo", 10
					if o := receive(t, do(t, ctx, gateway, e)); o.err != nil || o.out != "55" {
						t.Errorf("%s by a %s in a %s: %v", where, who, in, o)
					}
				}
				// It has been given back, and the owner can go on.
				send(t, ch, 7)
				if n := next(t, ch); n != 7 {
					t.Errorf("%d, want 7", n)
				}
			}
			back, err := lineFunction.On(gateway)(ctx, start(t, mirror, at["same worker"]).Ref())
			if err != nil {
				t.Fatal(err)
			}
			bound, err := back.Bind(ctx) // here, in the caller, who has it anyway
			if err != nil {
				t.Fatal(err)
			}
			send(t, bound, 5)
			if n := next(t, bound); n != 5 {
				t.Errorf("%s: a result: %d", where, n)
			}
		}
	})
}

// A routine can give its own end away, to its caller and by that to others: what
// they send comes from the routine, and what its caller sends goes to them.
func TestRoutineGivesItsEnd(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		at := places(t, scheme)
		giver := start(t, ownEnd, at["same worker"])
		first := next(t, giver)
		for where, gateway := range at {
			done := aside(func() (int, error) { return plusOne.On(gateway)(ctx, first) })
			send(t, giver, gift{N: 20})
			if got := next(t, giver); got.N != 21 {
				t.Errorf("%s: %+v", where, got)
			}
			if o := receive(t, done); o.err != nil {
				t.Errorf("%s: %v", where, o.err)
			}
		}
		here, err := first.Own.Bind(ctx)
		if err != nil {
			t.Fatal(err)
		}
		send(t, here, gift{N: 3})
		if got := next(t, giver); got.N != 3 {
			t.Errorf("%+v", got)
		}
		send(t, giver, gift{N: 4})
		if got := next(t, here); got.N != 4 {
			t.Errorf("%+v", got)
		}
		_ = here.Close()
		_ = giver.Close()
		if err := here.Wait(ctx); !errors.Is(err, afar.ErrClosed) {
			t.Error(err)
		}
	})
}

// gift is an item that may hold the end that it came from.
type gift struct {
	N   int
	Own afar.ChannelRef[gift, gift]
}

var (
	ownEnd  = afar.Routine(giveOwnEnd)
	plusOne = afar.Func(addOneTo)
)

func giveOwnEnd(ctx context.Context, ch *afar.Channel[gift, gift]) error {
	if err := ch.Send(ctx, gift{Own: ch.Ref()}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// addOneTo receives once on a routine's end, in its place, and answers.
func addOneTo(ctx context.Context, g gift) (int, error) {
	own, err := g.Own.Bind(ctx)
	if err != nil {
		return 0, err
	}
	defer own.Close()
	in, err := own.Recv(ctx)
	if err != nil {
		return 0, err
	}
	return in.N, own.Send(ctx, gift{N: in.N + 1})
}

// An object works wherever its handle arrives: the state is where the object lives.
func TestObjectHandlesArrive(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		at := places(t, scheme)
		o := newObject(t, cellars, at["same worker"], lock{})
		ref, total := o.Ref(), 0
		for where, gateway := range at {
			for who, do := range doers {
				for range 3 {
					total += 5
					if got := receive(t, do(t, ctx, gateway, errand{Cellar: &ref, N: 5})); got.err != nil || got.out != fmt.Sprint(total) {
						t.Errorf("%s by a %s: %v, want %d", where, who, got, total)
					}
				}
			}
		}
		here, err := ref.Bind(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := deposit.On(here)(ctx, 1); err != nil || got != total+1 {
			t.Errorf("%d, %v", got, err)
		}
		if again := here.Ref(); again.String() != ref.String() {
			t.Errorf("%v, %v", again, ref)
		}
	})
}

// What a holder was sent in advance and has not read when it goes comes back, for
// whoever receives: nothing is lost or there twice. What it sent stays sent.
func TestHolderGoesEarly(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		at := places(t, scheme)
		for where, gateway := range at {
			for who, do := range doers {
				ch := start(t, mirror, at["same worker"])
				const many = 300
				want := 0
				for i := range many {
					send(t, ch, i+1)
					want += i + 1
				}
				got := 0
				for _, n := range []int{1, 10, 100} {
					o := receive(t, do(t, ctx, gateway, errand{Line: ch.Ref(), Do: "receive", N: n}))
					sum := 0
					if _, err := fmt.Sscan(o.out, &sum); err != nil || o.err != nil {
						t.Fatalf("%s by a %s: %v", where, who, o)
					}
					got += sum
				}
				for range many - 111 {
					got += next(t, ch)
				}
				if got != want {
					t.Fatalf("%s by a %s: %d, want %d", where, who, got, want)
				}
				if o := receive(t, do(t, ctx, gateway, errand{Line: ch.Ref(), Do: "send", N: 2})); o.err != nil {
					t.Error(o.err)
				}
				if one, two := next(t, ch), next(t, ch); one != 1 || two != 2 {
					t.Errorf("%d, %d", one, two)
				}
				_ = ch.Close()
			}
		}
	})
}
