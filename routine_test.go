package afar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/afartest"
)

// Routines that the tests of conversations use.
var (
	parrot = afar.Routine(repeatItems)
	player = afar.Routine(playCues)
)

// repeatItems sends back what it receives.
func repeatItems(ctx context.Context, ch *afar.Channel[string, string]) error {
	for item, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		if err := ch.Send(ctx, item); err != nil {
			return err
		}
	}
	return nil
}

// cue tells a routine what to do next, and is what it answers.
type cue struct {
	Do    string
	N     int
	Text  string
	Visit visit
}

var errCue = errors.New("a registered error")

// cueError is an error type that travels.
type cueError struct{ Code int }

func (e *cueError) Error() string { return fmt.Sprint("code ", e.Code) }

func init() {
	afar.RegisterError("afar_test.errCue", errCue)
	afar.RegisterErrorType[*cueError]("afar_test.cueError")
}

func playCues(ctx context.Context, ch *afar.Channel[cue, cue]) error {
	for c, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		switch c.Do {
		case "say":
			for i := range c.N {
				if err := ch.Send(ctx, cue{N: i, Text: c.Text}); err != nil {
					return err
				}
			}
		case "fail":
			return fmt.Errorf("%s: %w, %w, %w", c.Text, errCue, fs.ErrNotExist, &cueError{7})
		case "panic":
			panic(c.Text)
		case "goexit":
			runtime.Goexit()
		case "end":
			_ = ch.CloseSend()
		case "close":
			defer ch.Close()
		case "visit":
			text, err := visitDesk(ctx, c.Visit)
			if err != nil {
				return err
			}
			if err := ch.Send(ctx, cue{Text: text}); err != nil {
				return err
			}
		case "log":
			for i := range c.N {
				afar.Logger(ctx).Info(c.Text, "i", i)
				afar.Progress(ctx, int64(i+1), int64(c.N))
			}
		case "header":
			if err := ch.Send(ctx, cue{Text: afar.Header(ctx)[c.Text]}); err != nil {
				return err
			}
		case "call":
			sum := 0
			for out, err := range square.Map(ctx, afar.Caller(ctx), numbers(c.N)) {
				if err != nil {
					return err
				}
				sum += out
			}
			out, err := square.On(afar.Caller(ctx))(ctx, sum)
			if err != nil {
				return err
			}
			if err := ch.Send(ctx, cue{N: out}); err != nil {
				return err
			}
		case "die":
			_, _ = die(ctx, death{Times: 1, Code: c.N, Spoken: c.Text})
		}
	}
	return nil
}

// start starts a routine, whose channel is closed at the end of the test.
func start[In, Out any](t testing.TB, r *afar.RoutineOf[In, Out], at afar.Opener) *afar.Channel[In, Out] {
	t.Helper()
	return startWith(t, within(t), r, at)
}

func startWith[In, Out any](t testing.TB, ctx context.Context, r *afar.RoutineOf[In, Out], at afar.Opener) *afar.Channel[In, Out] {
	t.Helper()
	ch, err := r.Start(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ch.Close() })
	return ch
}

// send sends items that must arrive.
func send[In, Out any](t testing.TB, ch *afar.Channel[In, Out], items ...In) {
	t.Helper()
	for _, item := range items {
		if err := ch.Send(within(t), item); err != nil {
			t.Fatal(err)
		}
	}
}

// next receives an item that must come.
func next[In, Out any](t testing.TB, ch *afar.Channel[In, Out]) Out {
	t.Helper()
	item, err := ch.Recv(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return item
}

// over checks that Recv, Wait and Send all give such an error.
func over[In, Out any](t testing.TB, ch *afar.Channel[In, Out], matches func(error) bool) {
	t.Helper()
	var none In
	_, received := ch.Recv(within(t))
	for what, err := range map[string]error{"Recv": received, "Wait": ch.Wait(within(t)), "Send": ch.Send(within(t), none)} {
		if err == nil || !matches(err) {
			t.Errorf("%s: %v (%T)", what, err, err)
		}
	}
}

func isError(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// How a routine ends reaches Recv, Send and Wait, after the items that came
// before, whether it closes its channel or not.
func TestRoutineEnds(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1?id=w")
		for _, test := range []struct {
			cues    []cue
			matches func(*afar.RemoteError) bool
		}{
			{[]cue{{Do: "fail", Text: "no"}}, func(e *afar.RemoteError) bool {
				var typed *cueError
				return errors.Is(e, errCue) && errors.Is(e, fs.ErrNotExist) && errors.As(e, &typed) && typed.Code == 7 &&
					strings.HasPrefix(e.Message, "no: a registered error") && !e.Panic && e.Stack == ""
			}},
			{[]cue{{Do: "panic", Text: "ouch"}}, func(e *afar.RemoteError) bool {
				return e.Panic && e.Message == "ouch" && e.Type == "string" && strings.Contains(e.Stack, "playCues")
			}},
			{[]cue{{Do: "goexit"}}, func(e *afar.RemoteError) bool { return e.Panic && strings.Contains(e.Message, "Goexit") }},
			{[]cue{{Do: "close"}, {Do: "fail"}}, func(e *afar.RemoteError) bool { return errors.Is(e, errCue) }},
			{[]cue{{Do: "close"}, {Do: "panic", Text: "ouch"}}, func(e *afar.RemoteError) bool { return e.Panic }},
		} {
			ch := start(t, player, pool)
			send(t, ch, cue{Do: "say", N: 100})
			send(t, ch, test.cues...)
			for i := range 100 {
				if got := next(t, ch); got.N != i {
					t.Fatalf("item %d is %+v", i, got)
				}
			}
			for range 2 {
				over(t, ch, func(err error) bool {
					var remote *afar.RemoteError
					return errors.As(err, &remote) && remote.Worker == "w" && strings.HasSuffix(remote.Function, "playCues") && test.matches(remote)
				})
			}
			for item, err := range ch.All(within(t)) {
				if err == nil || item != (cue{}) {
					t.Errorf("All yields %+v, %v", item, err)
				}
			}
		}
		for _, cues := range [][]cue{nil, {{Do: "end"}}, {{Do: "close"}}, {{Do: "end"}, {Do: "close"}}} {
			ch := start(t, player, pool)
			send(t, ch, cues...)
			_ = ch.CloseSend()
			if _, err := ch.Recv(within(t)); err != io.EOF {
				t.Errorf("%v: Recv: %v", cues, err)
			}
			if err := ch.Wait(within(t)); err != nil {
				t.Errorf("%v: Wait: %v", cues, err)
			}
			if err := ch.Send(within(t), cue{}); !errors.Is(err, afar.ErrClosed) {
				t.Errorf("%v: Send: %v", cues, err)
			}
		}
	})
}

// The end of Start's context ends both sides; the routine sees why.
func TestRoutineContext(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d, pool := newDesk(t), open(t, scheme+":1")
		changed := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(within(t))
		ch := startWith(t, ctx, player, pool)
		send(t, ch, cue{Do: "visit", Visit: visit{Desk: d.addr()}})
		v := d.next(t)
		cancel(changed)
		if said, err := v.says(t); err != nil || !strings.Contains(said, "context canceled") || !strings.Contains(said, "changed my mind") {
			t.Errorf("the routine says %q, %v", said, err)
		}
		over(t, ch, func(err error) bool { return errors.Is(err, context.Canceled) && errors.Is(err, changed) })
		if _, err := player.Start(ctx, pool); !errors.Is(err, changed) {
			t.Errorf("Start with a context that has ended: %v", err)
		}

		ctx, stop := context.WithTimeout(within(t), 50*time.Millisecond)
		defer stop()
		ch = startWith(t, ctx, player, pool)
		over(t, ch, isError(context.DeadlineExceeded))

		// Close ends the routine as well.
		ch = start(t, player, pool)
		send(t, ch, cue{Do: "visit", Visit: visit{Desk: d.addr()}})
		v = d.next(t)
		for range 2 {
			if err := ch.Close(); err != nil {
				t.Error(err)
			}
		}
		if said, err := v.says(t); err != nil || !strings.Contains(said, "closed by the caller") {
			t.Errorf("the routine says %q, %v", said, err)
		}
		over(t, ch, isError(afar.ErrClosed))
	})
}

// A worker that is lost ends its channels with the reason, after the items that
// came before.
func TestRoutineWorkerLost(t *testing.T) {
	pool := open(t, "local:1?id=w")
	for name, end := range map[string]struct {
		do      func(ch *afar.Channel[cue, cue])
		matches func(*afar.WorkerLostError) bool
	}{
		"Kill": {func(*afar.Channel[cue, cue]) { _ = pool.Gateways()[0].Kill() },
			func(e *afar.WorkerLostError) bool { return e.Signal == "killed" }},
		"SIGKILL": {func(*afar.Channel[cue, cue]) { kill(t, pool.Gateways()[0]) },
			func(e *afar.WorkerLostError) bool { return e.Signal == "killed" }},
		"exit": {func(ch *afar.Channel[cue, cue]) { send(t, ch, cue{Do: "die", N: 3, Text: "no more"}) },
			func(e *afar.WorkerLostError) bool { return e.ExitCode == 3 && strings.Contains(e.Stderr, "no more") }},
	} {
		t.Run(name, func(t *testing.T) {
			ch := start(t, player, pool)
			send(t, ch, cue{Do: "say", N: 3})
			first := next(t, ch)
			pid := pool.Status().Workers[0].PID
			for pool.Status().Workers[0].Channels[0].Received < 3 {
				runtime.Gosched()
			}
			end.do(ch)
			if second, third := next(t, ch), next(t, ch); first.N != 0 || second.N != 1 || third.N != 2 {
				t.Errorf("%v %v %v", first, second, third)
			}
			over(t, ch, func(err error) bool {
				var lost *afar.WorkerLostError
				return errors.As(err, &lost) && errors.Is(err, afar.ErrWorkerLost) && lost.Worker == "w" && lost.PID == pid &&
					strings.HasSuffix(lost.Function, "playCues") && end.matches(lost)
			})
			// Start waits for the worker that takes its place.
			again := start(t, player, pool)
			send(t, again, cue{Do: "say", N: 1})
			next(t, again)
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A link that is silent ends its channels within the time that keepalive states.
func TestRoutineLinkIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const period = 2 * time.Second
		pool := afartest.OpenConfig(t, afar.Config{Keepalive: period, Log: slog.DiscardHandler}, 1)
		ctx := t.Context()
		var channels []*afar.Channel[cue, cue]
		for range 50 {
			ch, err := player.Start(ctx, pool)
			if err != nil {
				t.Fatal(err)
			}
			defer ch.Close()
			channels = append(channels, ch)
		}
		synctest.Wait()
		stalled := time.Now()
		pool.Stall(0)
		for _, ch := range channels {
			_, err := ch.Recv(ctx)
			var lost *afar.WorkerLostError
			if !errors.As(err, &lost) || lost.Reason == "" {
				t.Errorf("%v", err)
			}
		}
		if took := time.Since(stalled); took > 4*period {
			t.Errorf("known after %v", took)
		}
	})
}

// What a routine logs has its worker and arrives before its end, where WithLog
// says; headers and progress travel as with calls.
func TestRoutineOptions(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		book, mine := &diary{}, &diary{}
		pool := openWith(t, afar.Config{Log: book, Header: func(context.Context) map[string]string {
			return map[string]string{"pool": "p", "both": "p"}
		}}, scheme+":1?id=w")
		var mu sync.Mutex
		var done int64
		ctx := afar.WithProgress(within(t), func(worker string, n, total int64) {
			mu.Lock()
			defer mu.Unlock()
			if worker != "w" || total != 500 || n < done {
				t.Errorf("%s: %d of %d after %d", worker, n, total, done)
			}
			done = n
		})
		ctx = afar.WithHeader(afar.WithHeader(ctx, "mine", "m"), "both", "m")
		for _, test := range []struct {
			ctx  context.Context
			book *diary
		}{{ctx, book}, {afar.WithLog(ctx, mine), mine}} {
			for range 5 {
				done = 0
				ch := startWith(t, test.ctx, player, pool)
				for _, key := range []string{"pool", "mine", "both"} {
					send(t, ch, cue{Do: "header", Text: key})
					if got, want := next(t, ch).Text, map[string]string{"pool": "p"}[key]; got != want && !(want == "" && got == "m") {
						t.Errorf("header %s is %q", key, got)
					}
				}
				send(t, ch, cue{Do: "log", N: 500, Text: "line"}, cue{Do: "fail"})
				before := len(test.book.read())
				if _, err := ch.Recv(within(t)); !errors.Is(err, errCue) {
					t.Fatal(err)
				}
				pages := test.book.read()
				if n := len(pages); n < 500 || n-before > 500 {
					t.Fatalf("%d records, %d before", n, before)
				}
				for i, p := range pages[len(pages)-500:] {
					if p["msg"] != "line" || p["i"] != int64(i) || p["worker"] != "w" || !strings.HasSuffix(fmt.Sprint(p["call"]), "playCues") {
						t.Fatalf("record %d: %v", i, p)
					}
				}
				if mu.Lock(); done != 500 {
					t.Errorf("the last report is %d", done)
				}
				mu.Unlock()
			}
		}
		if len(book.read()) != 2500 || len(mine.read()) != 2500 {
			t.Errorf("%d records in the pool's book, %d in mine", len(book.read()), len(mine.read()))
		}
	})
}

// A routine makes calls and maps of its own; it takes no slot from them.
func TestRoutineCalls(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		var wg sync.WaitGroup
		for range 10 {
			ch := start(t, player, pool)
			wg.Go(func() {
				for range 5 {
					send(t, ch, cue{Do: "call", N: 100})
					if got := next(t, ch); got.N != 328350*328350 {
						t.Errorf("%+v", got)
					}
				}
			})
		}
		wg.Wait()
	})
}

// Start says what is wrong with where it is to start.
func TestRoutineStartFails(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":2")
		var noPool *afar.Pool
		var noGateway *afar.Gateway
		for _, at := range []afar.Opener{nil, noPool, noGateway} {
			if _, err := parrot.Start(within(t), at); err == nil || !strings.Contains(err.Error(), "nil Opener") {
				t.Errorf("%v", err)
			}
		}
		if _, err := parrot.StartEach(within(t), nil); err == nil || !strings.Contains(err.Error(), "nil Opener") {
			t.Errorf("%v", err)
		}
		late := afar.Routine(lateItems) // workers do not know it
		if scheme == "local" {
			if _, err := late.Start(within(t), pool); !errors.Is(err, afar.ErrUnknownFunction) || !strings.Contains(err.Error(), "lateItems") {
				t.Errorf("%v", err)
			}
		}
		if err := pool.Gateways()[0].Close(); err != nil {
			t.Error(err)
		}
		if _, err := parrot.Start(within(t), pool.Gateways()[0]); !errors.Is(err, afar.ErrClosed) {
			t.Errorf("%v", err)
		}
		ch := start(t, parrot, pool) // the other one
		send(t, ch, "here")
		next(t, ch)
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
		for _, at := range []afar.Opener{pool, pool.Gateways()[1]} {
			if _, err := parrot.Start(within(t), at); !errors.Is(err, afar.ErrClosed) {
				t.Errorf("%v", err)
			}
		}
		over(t, ch, isError(afar.ErrClosed))
	})
}

func lateItems(context.Context, *afar.Channel[int, int]) error { return os.ErrInvalid }

// A worker that is being replaced is waited for, for as long as the context
// lasts.
func TestRoutineStartWaits(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		for range 10 {
			if err := pool.Gateways()[0].Kill(); err != nil {
				t.Fatal(err)
			}
			// What is started before anybody has noticed is lost with the worker.
			for {
				ch := start(t, parrot, pool)
				if err := ch.Send(within(t), "here"); err == nil {
					if _, err := ch.Recv(within(t)); err == nil {
						break
					}
				}
				if err := ch.Wait(within(t)); !errors.Is(err, afar.ErrWorkerLost) {
					t.Fatal(err)
				}
			}
		}
	})
}
