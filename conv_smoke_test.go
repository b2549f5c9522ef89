package afar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/afar-go/afar"
)

var echo = afar.Routine(echoItems)

func echoItems(ctx context.Context, ch *afar.Channel[string, string]) error {
	for s, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		if s == "fail" {
			return os.ErrNotExist
		}
		if s == "panic" {
			panic("ouch")
		}
		afar.Logger(ctx).Info("got " + s)
		if err := ch.Send(ctx, "echo "+s); err != nil {
			return err
		}
	}
	return nil
}

type counter struct{ Total int }

func newCounter(_ context.Context, start int) (*counter, error) { return &counter{start}, nil }
func (c *counter) Add(_ context.Context, n int) (int, error) {
	c.Total += n
	return c.Total, nil
}
func (c *counter) PID() int { return os.Getpid() }

var counters = afar.Class(newCounter)
var add = afar.Method((*counter).Add)

type hop struct {
	Next afar.ChannelRef[hop, string]
	Obj  afar.ObjectRef[counter]
	Text string
}

var forward = afar.Routine(forwardItems)

func forwardItems(ctx context.Context, ch *afar.Channel[string, hop]) error {
	first, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	next, err := first.Next.Bind(ctx)
	if err != nil {
		return err
	}
	defer next.Close()
	obj, err := first.Obj.Bind(ctx)
	if err != nil {
		return err
	}
	for h, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		n, err := add.On(obj)(ctx, 1)
		if err != nil {
			return err
		}
		if err := next.Send(ctx, hop{Text: fmt.Sprintf("%s %d", h.Text, n)}); err != nil {
			return err
		}
	}
	return next.CloseSend()
}

var sink = afar.Routine(sinkItems)

func sinkItems(ctx context.Context, ch *afar.Channel[string, hop]) error {
	for h, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		if err := ch.Send(ctx, h.Text); err != nil {
			return err
		}
	}
	return nil
}

func TestSmokeConversations(t *testing.T) {
	for _, target := range []string{"inproc:2", "local:2"} {
		t.Run(target, func(t *testing.T) {
			ctx := within(t)
			pool, err := afar.Open(ctx, target)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			ch, err := echo.Start(ctx, pool)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				if err := ch.Send(ctx, fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
				if got, err := ch.Recv(ctx); err != nil || got != fmt.Sprint("echo ", i) {
					t.Fatal(got, err)
				}
			}
			ch.CloseSend()
			if _, err := ch.Recv(ctx); err != io.EOF {
				t.Fatal(err)
			}
			if err := ch.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			ch, _ = echo.Start(ctx, pool)
			_ = ch.Send(ctx, "x")
			_ = ch.Send(ctx, "fail")
			if got, err := ch.Recv(ctx); got != "echo x" {
				t.Fatal(got, err)
			}
			_, err = ch.Recv(ctx)
			var remote *afar.RemoteError
			if !errors.As(err, &remote) || !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			obj, err := counters.New(ctx, pool, 40)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := add.On(obj)(ctx, 2); n != 42 || err != nil {
				t.Fatal(n, err)
			}
			if n, err := afar.Invoke[int](ctx, obj, "Add", 8); n != 50 || err != nil {
				t.Fatal(n, err)
			}
			if n, err := afar.Get[int](ctx, obj, "Total"); n != 50 || err != nil {
				t.Fatal(n, err)
			}
			if n, err := afar.Get[int](ctx, obj, "PID"); n == 0 || err != nil {
				t.Fatal(n, err)
			}
			if err := afar.Set(ctx, obj, "Total", 7); err != nil {
				t.Fatal(err)
			}
			_, err = afar.Get[int](ctx, obj, "Totl")
			t.Log(err)
			if !errors.Is(err, afar.ErrUnknownFunction) {
				t.Fatal(err)
			}
			st, _ := pool.Gateways()[0].Status(ctx)
			t.Logf("%+v", st)

			s, err := sink.Start(ctx, pool.Gateways()[1])
			if err != nil {
				t.Fatal(err)
			}
			f, err := forward.Start(ctx, pool.Gateways()[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Send(ctx, hop{Next: s.Ref(), Obj: obj.Ref()}); err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				_ = f.Send(ctx, hop{Text: fmt.Sprint(i)})
			}
			f.CloseSend()
			i := 0
			for text, err := range s.All(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				if want := fmt.Sprintf("%d %d", i, 8+i); text != want {
					t.Fatal(text, want)
				}
				i++
			}
			if i != 5 {
				t.Fatal(i)
			}
			if err := f.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			obj.Close()
			if _, err := add.On(obj)(ctx, 2); !errors.Is(err, afar.ErrClosed) {
				t.Fatal(err)
			}
		})
	}
}
