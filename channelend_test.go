package afar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// How channels end that nobody closes, or that are open when others end.

// entries is how many records of a diary have such a message.
func (d *diary) entries(text string) (n int) {
	for _, p := range d.read() {
		if msg, _ := p["msg"].(string); strings.Contains(msg, text) {
			n++
		}
	}
	return n
}

// collect collects garbage until something is true.
func collect(t testing.TB, what string, isTrue func() bool) {
	t.Helper()
	until(t, what, func() bool {
		runtime.GC()
		return isTrue()
	})
}

// failed starts a routine that fails, and waits until it has.
func failed(t testing.TB, ctx context.Context, pool *afar.Pool) *afar.Channel[cue, cue] {
	t.Helper()
	ch, err := player.Start(ctx, pool)
	if err != nil {
		t.Fatal(err)
	}
	send(t, ch, cue{Do: "say", N: 1}, cue{Do: "fail"})
	until(t, "the routine fails", func() bool { return len(pool.Status().Workers[0].Channels) == 0 })
	return ch
}

// An error that nobody has received is logged once, by whatever ends the
// conversation for good.
func TestUnreceivedErrors(t *testing.T) {
	type ending struct {
		ctx    context.Context
		cancel context.CancelFunc
		pool   *afar.Pool
		ch     *afar.Channel[cue, cue]
	}
	const unreceived = "nobody received the error"
	for name, end := range map[string]func(*ending){
		"Close":         func(e *ending) { _ = e.ch.Close(); _ = e.ch.Close() },
		"context":       func(e *ending) { e.cancel() },
		"pool.Close":    func(e *ending) { _ = e.pool.Close() },
		"pool.Shutdown": func(e *ending) { _ = e.pool.Shutdown(context.Background()) },
		"dropped":       func(e *ending) { e.ch = nil; runtime.GC() },
	} {
		t.Run(name, func(t *testing.T) {
			book := &diary{}
			e := &ending{pool: openWith(t, afar.Config{Log: book, MaxItem: 10_000}, "inproc:1")}
			e.ctx, e.cancel = context.WithCancel(within(t))
			e.ch = failed(t, e.ctx, e.pool)
			expired, cancel := context.WithCancel(within(t))
			cancel()
			if _, err := e.ch.Recv(within(t)); err != nil { // what came before the error
				t.Error(err)
			}
			if err := e.ch.Send(expired, cue{Text: strings.Repeat("x", 20_000)}); !errors.Is(err, afar.ErrTooLarge) {
				t.Errorf("%v", err)
			}
			if n := book.entries(unreceived); n != 0 {
				t.Errorf("%d errors are logged too early", n)
			}
			end(e)
			collect(t, "the error is logged", func() bool { return book.entries(unreceived) > 0 })
			_ = e.pool.Close()
			if e.ch != nil {
				_ = e.ch.Close()
			}
			e.cancel()
			runtime.GC()
			if n := book.entries(unreceived); n != 1 {
				t.Errorf("logged %d times", n)
			}
			for _, p := range book.read() {
				if text := fmt.Sprint(p["error"]); p["worker"] != "inproc-1" || !strings.Contains(text, errCue.Error()) {
					t.Errorf("%v", p)
				}
			}
		})
	}
}

// An error that somebody has received is not logged; that a context has ended is
// no such error, and does not hide it.
func TestReceivedErrors(t *testing.T) {
	book := &diary{}
	pool := openWith(t, afar.Config{Log: book}, "inproc:1")
	expired, cancel := context.WithCancel(within(t))
	cancel()
	for name, get := range map[string]func(ch *afar.Channel[cue, cue]) error{
		"Recv": func(ch *afar.Channel[cue, cue]) error {
			next(t, ch)
			_, err := ch.Recv(within(t))
			return err
		},
		"Wait": func(ch *afar.Channel[cue, cue]) error { return ch.Wait(within(t)) },
		"Send": func(ch *afar.Channel[cue, cue]) error { return ch.Send(within(t), cue{}) },
		"All": func(ch *afar.Channel[cue, cue]) (last error) {
			for _, err := range ch.All(within(t)) {
				last = err
			}
			return last
		},
	} {
		ch := failed(t, within(t), pool)
		if err := get(ch); !errors.Is(err, errCue) {
			t.Errorf("%s: %v", name, err)
		}
		_ = ch.Close()
	}
	ch, err := player.Start(within(t), pool)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.Recv(expired); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	send(t, ch, cue{Do: "fail"})
	until(t, "the routine fails", func() bool { return len(pool.Status().Workers[0].Channels) == 0 })
	_ = ch.Close()
	_ = pool.Close()
	runtime.GC()
	if n := len(book.read()); n != 1 {
		t.Errorf("%d records: %v", n, book.read())
	}
}

// That a routine has heeded the deadline which is also its caller's is no news to
// anybody, whoever noticed first.
func TestDeadlineIsNoUnreceivedError(t *testing.T) {
	book, d := &diary{}, newDesk(t)
	pool := openWith(t, afar.Config{Log: book}, "inproc:1")
	for range 50 {
		ctx, cancel := context.WithTimeout(within(t), 2*time.Millisecond)
		ch, err := player.Start(ctx, pool)
		if err == nil {
			_ = ch.Send(ctx, cue{Do: "visit", Visit: visit{Desk: d.addr()}})
			err = ch.Wait(ctx)
			_ = ch.Close()
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		cancel()
	}
	_ = pool.Close()
	if n := len(book.read()); n != 0 {
		t.Errorf("%d records, the first is %v", n, book.read()[0])
	}
}

// A worker with many channels open takes all of them with it, each with the
// reason.
func TestManyChannelsAreLost(t *testing.T) {
	pool := open(t, "local:1?id=w")
	var channels []*afar.Channel[string, string]
	for range 50 {
		ch := start(t, parrot, pool)
		send(t, ch, "here")
		next(t, ch)
		channels = append(channels, ch)
	}
	pid := kill(t, pool.Gateways()[0])
	for _, ch := range channels {
		over(t, ch, func(err error) bool {
			var lost *afar.WorkerLostError
			return errors.As(err, &lost) && lost.PID == pid && lost.Signal == "killed"
		})
	}
}

// A channel that was dropped without Close is ended, with a word; one that
// somebody uses was not dropped.
func TestDroppedChannel(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		book, d := &diary{}, newDesk(t)
		pool := openWith(t, afar.Config{Log: book}, scheme+":1")
		visiting := func() *afar.Channel[cue, cue] {
			ch, err := player.Start(within(t), pool)
			if err != nil {
				t.Fatal(err)
			}
			send(t, ch, cue{Do: "visit", Visit: visit{Desk: d.addr()}})
			return ch
		}
		used := map[string]func(*afar.Channel[cue, cue]) error{
			"Wait": func(ch *afar.Channel[cue, cue]) error { return ch.Wait(within(t)) },
			"All": func(ch *afar.Channel[cue, cue]) error {
				n := 0
				for _, err := range ch.All(within(t)) {
					if n++; err != nil {
						return err
					}
				}
				return map[int]error{0: io.ErrNoProgress}[n]
			},
			"Reader": func(ch *afar.Channel[cue, cue]) error { _, err := ch.Recv(within(t)); _ = ch.CloseSend(); return err },
		}
		ended := make(chan error, len(used))
		var visitors []*visitor
		for _, use := range used {
			go func() {
				ch := visiting()
				if err := ch.CloseSend(); err != nil {
					t.Error(err)
				}
				ended <- use(ch)
			}()
			visitors = append(visitors, d.next(t))
		}
		visiting()
		dropped := d.next(t)
		collect(t, "what was dropped is ended", func() bool { return book.entries("never closed") > 0 })
		if said, err := dropped.says(t); err != nil || !strings.Contains(said, "dropped without Close") {
			t.Errorf("the routine says %q, %v", said, err)
		}
		for range 5 {
			runtime.GC()
		}
		for _, v := range visitors {
			v.release("go")
		}
		for range used {
			if err := receive(t, ended); err != nil {
				t.Error(err)
			}
		}
		if n := book.entries("never closed"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}

// Close and Shutdown of the pool with channels open: Shutdown waits for them as
// long as it may, Close does not.
func TestPoolEndsWithChannels(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		visiting := func(pool *afar.Pool) (*afar.Channel[cue, cue], *visitor) {
			ch := start(t, player, pool)
			send(t, ch, cue{Do: "visit", Visit: visit{Desk: d.addr()}})
			return ch, d.next(t)
		}
		pool := open(t, scheme+":2")
		ch, v := visiting(pool)
		shut := make(chan error, 1)
		go func() { shut <- pool.Shutdown(within(t)) }()
		until(t, "nothing more can be started", func() bool {
			other, err := player.Start(within(t), pool)
			if err == nil {
				_ = other.Close()
			}
			return errors.Is(err, afar.ErrClosed)
		})
		select {
		case err := <-shut:
			t.Errorf("Shutdown does not wait: %v", err)
		default:
		}
		v.release("bye")
		if got := next(t, ch); got.Text != "bye" {
			t.Errorf("%+v", got)
		}
		_ = ch.CloseSend()
		if err := receive(t, shut); err != nil {
			t.Error(err)
		}
		if err := ch.Wait(within(t)); err != nil {
			t.Errorf("a channel that had ended: %v", err)
		}

		pool = open(t, scheme+":2")
		ch, v = visiting(pool)
		ctx, cancel := context.WithCancel(within(t))
		cancel()
		if err := pool.Shutdown(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 channels") {
			t.Errorf("out of time: %v", err)
		}
		_, _ = v.says(t)
		over(t, ch, isError(afar.ErrClosed))

		for name, end := range map[string]func(*afar.Pool) error{
			"Close": (*afar.Pool).Close,
			"Gateway.Close": func(p *afar.Pool) error {
				return errors.Join(p.Gateways()[0].Close(), p.Gateways()[1].Close())
			},
		} {
			pool = open(t, scheme+":2")
			var wg sync.WaitGroup
			for range 10 {
				ch, v := visiting(pool)
				wg.Go(func() {
					over(t, ch, isError(afar.ErrClosed))
					_, _ = v.says(t)
				})
			}
			if err := end(pool); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			wg.Wait()
		}
	})
}

// Start may come at any time while the pool closes.
func TestStartWhileClosing(t *testing.T) {
	for range 20 {
		pool := open(t, "inproc:2")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					ch, err := parrot.Start(within(t), pool)
					if errors.Is(err, afar.ErrClosed) {
						return
					} else if err != nil {
						t.Error(err)
						return
					}
					if err := ch.Send(within(t), "x"); err == nil {
						_, err = ch.Recv(within(t))
						if err != nil && !errors.Is(err, afar.ErrClosed) {
							t.Error(err)
						}
					}
					_ = ch.Close()
				}
			})
		}
		until(t, "something is open", func() bool { return len(pool.Status().Workers[0].Channels) > 0 })
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}

var quitter = afar.Routine(quitEarly)

// quitEarly closes its channel while it reads from it, writes to it and waits for
// it, and says at the desk what became of that.
func quitEarly(ctx context.Context, ch *afar.Channel[[]byte, []byte]) error {
	first, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	errs := make(chan error, 3)
	go func() { _, err := io.Copy(io.Discard, afar.NewReader(ch)); errs <- err }()
	go func() { _, err := io.Copy(afar.NewWriter(ch), noise(1<<30)); errs <- err }()
	go func() { errs <- ch.Wait(context.Background()) }()
	if _, err := visitDesk(ctx, visit{Desk: string(first)}); err != nil {
		return err
	}
	if err := ch.Close(); err != nil {
		return err
	}
	for range 3 {
		if err := <-errs; !errors.Is(err, afar.ErrClosed) {
			return fmt.Errorf("after Close: %w", err)
		}
	}
	return errCue
}

// Close works alike on both ends: it interrupts all that waits there.
func TestCloseInterrupts(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d, pool := newDesk(t), open(t, scheme+":1")
		ch := start(t, quitter, pool)
		send(t, ch, []byte(d.addr()))
		v := d.next(t)
		until(t, "the routine has sent a window", func() bool { return pool.Status().Workers[0].Channels[0].Unread > 1<<19 })
		v.release("close")
		err := error(nil)
		for err == nil {
			_, err = ch.Recv(within(t))
		}
		if !errors.Is(err, errCue) {
			t.Errorf("%v", err)
		}

		other := start(t, hoarder, pool)
		send(t, other, []byte(d.addr()))
		v = d.next(t)
		errs := make(chan error, 3)
		go func() { _, err := io.Copy(io.Discard, afar.NewReader(other)); errs <- err }()
		go func() { _, err := io.Copy(afar.NewWriter(other), noise(1<<30)); errs <- err }()
		go func() { errs <- other.Wait(context.Background()) }()
		until(t, "a window is sent", func() bool { return pool.Status().Workers[0].Channels[0].Waiting })
		_ = other.Close()
		for range 3 {
			if err := receive(t, errs); !errors.Is(err, afar.ErrClosed) {
				t.Errorf("%v", err)
			}
		}
		_, _ = v.says(t)
	})
}

// A slow log handler holds back the end of the routine that logs, and neither
// Close nor the handler's own use of the channel.
func TestCloseDoesNotWaitForRecords(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		slow := &gate{reached: make(chan struct{}), opened: make(chan struct{})}
		pool := open(t, scheme+":1")
		ch := startWith(t, afar.WithLog(within(t), slow), player, pool)
		send(t, ch, cue{Do: "log", N: 1, Text: "line"}, cue{Do: "fail"})
		receive(t, slow.reached)
		until(t, "the routine has ended", func() bool { return len(pool.Status().Workers[0].Channels) == 0 })
		ctx, cancel := context.WithTimeout(within(t), 20*time.Millisecond)
		defer cancel()
		if err := ch.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the end comes before the records: %v", err)
		}
		if err := ch.Close(); err != nil {
			t.Error(err)
		}
		close(slow.opened)
		if err := ch.Wait(within(t)); !errors.Is(err, errCue) || len(slow.read()) != 1 {
			t.Errorf("%v, %d records", err, len(slow.read()))
		}
	})
}

// Whatever is killed, whenever: a conversation goes as it should until its worker
// is lost, which is what it ends with then.
func TestChannelsUnderFire(t *testing.T) {
	pool := open(t, "local:3")
	gateways := pool.Gateways()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	talk := func() (lost bool) {
		ch, err := parrot.Start(within(t), pool)
		for i := 0; i < 200 && err == nil; i++ {
			want, got := fmt.Sprint(i), ""
			if err = ch.Send(within(t), want); err == nil {
				if got, err = ch.Recv(within(t)); err == nil && got != want {
					t.Errorf("%q, want %q", got, want)
				}
			}
		}
		if err == nil {
			_ = ch.CloseSend()
			err = ch.Wait(within(t))
		}
		if ch != nil {
			_ = ch.Close()
		}
		if err != nil && !errors.Is(err, afar.ErrWorkerLost) {
			t.Errorf("%v", err)
		}
		return err != nil
	}
	losses := make(chan bool, 1)
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case losses <- talk():
				case <-stop:
					return
				}
			}
		})
	}
	for whole, lost := 0, 0; whole < 100 || lost < 20; {
		if receive(t, losses) {
			lost++
		} else if whole++; whole%5 == 0 {
			_ = gateways[whole/5%3].Kill()
		}
	}
	close(stop)
	wg.Wait()
}
