package afar_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/afar-go/afar"
	"go.uber.org/goleak"
)

// How handles on channels end, for holders, owners and far sides.

// witness is a mirror that tells a desk how its channel has ended.
var witness = afar.Routine(witnessItems)

// witnessItems first receives the desk's port.
func witnessItems(ctx context.Context, ch *afar.Channel[int, int]) error {
	port, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	err = mirrorItems(ctx, ch)
	if err == nil {
		err = errors.New("well")
	}
	conn, visitErr := arrive(fmt.Sprint("127.0.0.1:", port), err.Error())
	if visitErr != nil {
		return visitErr
	}
	_ = conn.Close()
	return err
}

// witnessed starts a witness, whose end the desk will hear of.
func witnessed(t *testing.T, d *desk, at *afar.Gateway) *afar.Channel[int, int] {
	t.Helper()
	ch := start(t, witness, at)
	port := 0
	if _, err := fmt.Sscan(d.addr()[strings.LastIndex(d.addr(), ":")+1:], &port); err != nil {
		t.Fatal(err)
	}
	send(t, ch, port)
	return ch
}

// A holder whose function fails without having said that it has sent all ends the
// channel for everybody, with its error, behind what it sent. One that returns
// well leaves the channel alone, even if it closes nothing.
func TestHolderFails(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx, d := within(t), newDesk(t)
		at := places(t, scheme)
		for where, gateway := range at {
			for who, do := range doers {
				for _, how := range []string{"leave", "fail", "panic", "goexit"} {
					what := fmt.Sprintf("%s, %s, %s", where, who, how)
					ch := witnessed(t, d, at["same worker"])
					o := receive(t, do(t, ctx, gateway, errand{Line: ch.Ref(), Do: "send", N: 20, End: how}))
					if (o.err == nil) != (how == "leave") {
						t.Errorf("%s: %v", what, o.err)
					}
					if how == "leave" {
						for i := range 20 {
							if n := next(t, ch); n != i+1 {
								t.Fatalf("%s: %d, want %d", what, n, i+1)
							}
						}
						send(t, ch, 77, -3)
						if n := next(t, ch); n != 77 {
							t.Errorf("%s: %d afterwards", what, n)
						}
						if v := d.next(t); v.name != "well" {
							t.Errorf("%s: the far side says %q", what, v.name)
						}
						continue
					}
					reason := map[string]string{"fail": "the errand went wrong: invalid argument", "panic": "the errand went wrong", "goexit": "Goexit"}[how]
					if err := ch.Wait(ctx); !errors.Is(err, afar.ErrClosed) || !strings.Contains(err.Error(), reason) || how == "fail" && !errors.Is(err, os.ErrInvalid) {
						t.Errorf("%s: the owner says %v", what, err)
					}
					if v := d.next(t); !strings.Contains(v.name, reason) {
						t.Errorf("%s: the far side says %q", what, v.name)
					}
				}
			}
		}
	})
}

// A holder whose process is killed ends the channel for everybody with the reason,
// as one that fails; unless it had said that it has sent all.
func TestHolderKilled(t *testing.T) {
	ctx, d := within(t), newDesk(t)
	for _, where := range []string{"same pool", "other pool"} {
		for who, do := range doers {
			for _, how := range []string{"send", "receive", "send all"} {
				at := places(t, "local") // one that dies too often in a row is replaced slowly
				gateway := at[where]
				what := fmt.Sprintf("%s, %s, %s", where, who, how)
				ch := witnessed(t, d, at["same worker"])
				if how == "receive" {
					send(t, ch, 1, 2, 3)
				}
				done := do(t, ctx, gateway, errand{Line: ch.Ref(), Do: how, N: 3, Visit: visit{Desk: d.addr(), Name: "errand", Stubborn: true}, End: "leave"})
				v, told := d.next(t), ""
				if v.name != "errand" { // which has let the witness end
					told, v = v.name, d.next(t)
				}
				if how != "receive" {
					for i := range 3 {
						if n := next(t, ch); n != i+1 {
							t.Fatalf("%s: %d, want %d", what, n, i+1)
						}
					}
				}
				if how == "send all" && told == "" {
					told = d.next(t).name // its last word has arrived
				}
				process, err := os.FindProcess(v.pid)
				if err == nil {
					err = process.Kill()
				}
				if err != nil {
					t.Fatal(err)
				}
				v.gone(t)
				if o := receive(t, done); !errors.Is(o.err, afar.ErrWorkerLost) {
					t.Errorf("%s: %v", what, o.err)
				}
				if told == "" {
					told = d.next(t).name
				}
				if how == "send all" {
					if err := ch.Wait(ctx); told != "well" || err == nil || !strings.Contains(err.Error(), "well") {
						t.Errorf("%s: %q, %v", what, told, err)
					}
					continue
				}
				var lost *afar.WorkerLostError
				_, err = ch.Recv(ctx)
				if !errors.As(err, &lost) || lost.PID != v.pid || lost.Signal != "killed" || !errors.Is(err, afar.ErrClosed) {
					t.Errorf("%s: the owner says %v", what, err)
				}
				if !strings.Contains(told, "killed") {
					t.Errorf("%s: the far side says %q", what, told)
				}
			}
		}
	}
}

// What ends the channel elsewhere reaches a holder, whatever it does: the owner's
// Close, the routine's return, error and panic, the death of the worker.
func TestHolderIsTold(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx, d := within(t), newDesk(t)
		for what, x := range map[string]struct {
			end  func(*afar.Channel[int, int], *afar.Gateway)
			want string
			is   error
		}{
			"Close":  {func(ch *afar.Channel[int, int], _ *afar.Gateway) { _ = ch.Close() }, "closed", afar.ErrClosed},
			"error":  {func(ch *afar.Channel[int, int], _ *afar.Gateway) { send(t, ch, -1) }, "the mirror broke", os.ErrClosed},
			"panic":  {func(ch *afar.Channel[int, int], _ *afar.Gateway) { send(t, ch, -2) }, "the mirror broke", nil},
			"return": {func(ch *afar.Channel[int, int], _ *afar.Gateway) { send(t, ch, -3) }, "", nil},
			"kill":   {func(_ *afar.Channel[int, int], g *afar.Gateway) { _ = g.Kill() }, "lost", afar.ErrWorkerLost},
		} {
			if what == "kill" && scheme == "inproc" {
				continue
			}
			for _, where := range []string{"same pool", "other pool"} {
				for who, do := range doers {
					for _, does := range []string{"receive all", "wait"} {
						at := places(t, scheme)
						ch := start(t, mirror, at["same worker"])
						done := do(t, ctx, at[where], errand{Line: ch.Ref(), Do: does, Begin: visit{Desk: d.addr()}})
						d.next(t).release("go on")
						x.end(ch, at["same worker"])
						o := receive(t, done)
						if x.want == "" && o.err != nil || x.want != "" && (o.err == nil || !strings.Contains(o.err.Error(), x.want)) || x.is != nil && !errors.Is(o.err, x.is) {
							t.Errorf("%s, %s, %s, %s: %v", what, where, who, does, o.err)
						}
					}
				}
			}
		}
	})
}

// Pools that are closed with routes open leave nothing behind, whoever waits for
// whom.
func TestPoolsCloseWithRoutesOpen(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx, d := within(t), newDesk(t)
		before := goleak.IgnoreCurrent()
		for _, first := range []bool{true, false} {
			one, other := open(t, scheme+":2"), open(t, scheme+":1?id=z")
			var ended []<-chan outcome
			for _, gateway := range append(one.Gateways(), other.Gateways()...) {
				for who, do := range doers {
					if who == "function" {
						continue // one worker runs one of them at a time
					}
					silent, talking := start(t, mirror, one.Gateways()[0]), start(t, mirror, one.Gateways()[0])
					ended = append(ended, do(t, ctx, gateway, errand{Line: silent.Ref(), Do: "receive", N: 1}))
					ended = append(ended, do(t, ctx, gateway, errand{Line: talking.Ref(), Do: "send", N: 1 << 40}))
					ended = append(ended, do(t, ctx, gateway, errand{Line: talking.Ref(), Do: "echo", N: 3, Visit: visit{Desk: d.addr()}}))
				}
			}
			if first {
				_ = one.Close()
			}
			_ = other.Close()
			_ = one.Close()
			for _, done := range ended {
				if o := receive(t, done); o.err == nil {
					t.Error("an errand ended well")
				}
			}
		}
		if err := goleak.Find(before); err != nil {
			t.Error(err)
		}
	})
}
