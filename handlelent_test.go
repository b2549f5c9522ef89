package afar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/afar-go/afar"
)

// What holders have and do not read, when the routine has sent all.

var (
	counter  = afar.Routine(countItems)
	borrower = afar.Routine(borrowItems)
	quitting = afar.Func(closeAndFail)
)

// countItems receives how many numbers it is to send, and sends them. A negative
// number has it go on after its last word, until its context ends.
func countItems(ctx context.Context, ch *afar.Channel[int, int]) error {
	n, err := ch.Recv(ctx)
	for i := range max(n, -n) {
		if err := ch.Send(ctx, i); err != nil {
			return err
		}
	}
	if n < 0 {
		_ = ch.CloseSend()
		<-ctx.Done()
	}
	return err
}

// loan says what a holder receives, and how it leaves.
type loan struct {
	Line line
	N    int
	How  string
}

// borrowItems receives some items through a handle, says that it has, waits for a
// word, and leaves.
func borrowItems(ctx context.Context, ch *afar.Channel[int, loan]) error {
	l, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	held, err := l.Line.Bind(ctx)
	if err != nil {
		return err
	}
	if l.How != "leave" {
		defer held.Close()
	}
	for range l.N {
		if _, err := held.Recv(ctx); err != nil {
			return err
		}
	}
	if err := ch.Send(ctx, l.N); err != nil {
		return err
	}
	if _, err := ch.Recv(ctx); err != nil {
		return err
	}
	switch l.How {
	case "error":
		return os.ErrInvalid
	case "exit":
		os.Exit(7)
	case "rest":
		for {
			if _, err := held.Recv(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// When the routine has sent all, and perhaps returned, what a holder has not read
// comes back to others, who wait for it; and if it cannot they hear of that.
func TestLentItems(t *testing.T) {
	const sent, read = 1000, 10
	for _, n := range []int{sent, -sent} {
		for _, how := range []string{"close", "leave", "error", "exit", "rest"} {
			t.Run(fmt.Sprint(n, " ", how), func(t *testing.T) {
				ctx, pool := within(t), open(t, "local:2")
				ch, holder := start(t, counter, pool.Gateways()[0]), start(t, borrower, pool.Gateways()[1])
				send(t, ch, n)
				send(t, holder, loan{Line: ch.Ref(), N: read, How: how})
				next(t, holder)
				if n > 0 {
					if err := ch.Wait(ctx); err != nil {
						t.Fatal(err)
					}
				}
				type all struct {
					n   int
					err error
				}
				received := make(chan all, 1)
				go func() {
					var a all
					for {
						if _, a.err = ch.Recv(ctx); a.err != nil {
							received <- a
							return
						}
						a.n++
					}
				}()
				send(t, holder, loan{})
				a := receive(t, received)
				switch {
				case how == "exit":
					var lost *afar.WorkerLostError
					if !errors.As(a.err, &lost) || lost.ExitCode != 7 || !errors.Is(a.err, afar.ErrClosed) {
						t.Errorf("%d items, %v", a.n, a.err)
					}
				case how == "rest" && (a.n > sent-read || a.err != io.EOF), how != "rest" && n > 0 && (a.n != sent-read || a.err != io.EOF):
					t.Errorf("%d items, %v", a.n, a.err)
				case how == "error" && n < 0: // what it was to send may be missing
					if a.err != io.EOF && !strings.Contains(a.err.Error(), "invalid argument") {
						t.Error(a.err)
					}
				}
			})
		}
	}
}

// closeAndFail binds a handle, and defers Close of it.
func closeAndFail(ctx context.Context, e errand) (int, error) {
	ch, err := e.Line.Bind(ctx)
	if err != nil {
		return 0, err
	}
	defer ch.Close()
	if err := ch.Send(ctx, e.N); err != nil {
		return 0, err
	}
	return 0, end(e.End)
}

// A function that defers Close and fails has not said all that it was to say, as a
// routine that does so; one that returns well has.
func TestFunctionFailsAfterClose(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx, at := within(t), places(t, scheme)
		for where, gateway := range at {
			for _, how := range []string{"", "fail", "panic"} {
				ch := start(t, mirror, at["same worker"])
				_, err := quitting.On(afar.With(gateway, afar.Policy{MaxAttempts: 1}))(ctx, errand{Line: ch.Ref(), N: 5, End: how})
				if (err == nil) != (how == "") {
					t.Errorf("%s, %s: %v", where, how, err)
				}
				if how == "" {
					send(t, ch, 6)
					if a, b := next(t, ch), next(t, ch); a+b != 11 {
						t.Errorf("%s: %d, %d", where, a, b)
					}
					continue
				}
				if err := ch.Wait(ctx); !errors.Is(err, afar.ErrClosed) || !strings.Contains(err.Error(), "the errand went wrong") {
					t.Errorf("%s, %s: the owner says %v", where, how, err)
				}
			}
		}
	})
}

// A Writer makes items as large as they may be.
func TestWriterOfSmallItems(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		const limit = 1000
		pool := openWith(t, afar.Config{MaxItem: limit}, scheme+":1")
		ch := start(t, digest, pool)
		w := afar.NewWriter(ch)
		if n, err := w.Write(make([]byte, 3*limit+1)); n != 3*limit+1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := w.ReadFrom(bytes.NewReader(make([]byte, 70_000))); n != 70_000 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		_ = ch.Close()
	})
}
