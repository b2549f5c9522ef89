package dispatch

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// crew is workers with real executors, which are replaced when they are lost.
type crew struct {
	d     *Dispatcher
	slots int
	seats []*Seat

	mu      sync.Mutex
	workers map[*Seat]*worker
	closing bool
	begun   map[string]int // how often a call has begun, by its input
	backs   []*Dispatcher  // of the workers' own calls
	wg      sync.WaitGroup
}

// worker is one of a crew.
type worker struct {
	crew *crew
	conn *peer.Conn // the worker's end
	near *peer.Conn // the dispatcher's
	back *Dispatcher
}

func newCrew(d *Dispatcher, workers, slots int) *crew {
	c := &crew{d: d, slots: slots, workers: map[*Seat]*worker{}, begun: map[string]int{}}
	for i := range workers {
		seat := &Seat{Name: fmt.Sprint("w", i)}
		c.seats = append(c.seats, seat)
		c.start(seat)
	}
	return c
}

// start starts a worker, and another one when it is lost.
func (c *crew) start(seat *Seat) {
	a, b := launch.Pipe()
	w := &worker{crew: c, back: New()}
	x := peer.NewExecutor(context.Background(), []*registry.Function{{Name: "f", In: "int", Out: "int", Invoke: w.invoke}})
	far := w.back.Prepare()
	w.conn = peer.Dial(b, peer.Config{Hello: wire.Hello{Functions: keys[:1]}, Caller: far, Callee: x})
	x.Bind(w.conn)
	far.Join(w.conn, LaneConfig{Name: seat.Name, Slots: 1 << 20, Relay: true, Functions: keys[:1]})
	near := c.d.Prepare()
	lost := make(chan struct{})
	w.near = peer.Dial(a, peer.Config{Hello: wire.Hello{Concurrency: c.slots}, Initiator: true,
		Caller: near, Callee: near, Notes: near.Note, Closed: func(error) { close(lost) }})
	c.mu.Lock()
	c.workers[seat] = w
	c.backs = append(c.backs, w.back)
	closing := c.closing
	c.mu.Unlock()
	w.conn.Start()
	w.near.Start()
	if closing {
		w.kill()
	}
	if _, err := w.near.Hello(context.Background()); err == nil { // it may be killed this early
		near.Join(w.near, LaneConfig{Seat: seat, Name: seat.Name, Slots: c.slots, Functions: keys[:1], Kill: w.kill,
			Log: func(string, *Call, *peer.Record) {}})
	}
	c.wg.Go(func() {
		<-w.conn.Session().Done()
		w.back.Fail(ErrClosed)
		far.Lose(Lost{})
		w.conn.Session().Wait()
	})
	c.wg.Go(func() {
		<-lost
		w.near.Session().Wait()
		near.Lose(Lost{PID: 1, Reason: "test"})
		c.mu.Lock()
		closing := c.closing
		c.mu.Unlock()
		if !closing {
			c.start(seat)
		}
	})
}

func (w *worker) kill() { _ = w.conn.Close() }

func (c *crew) kill(i int) {
	c.mu.Lock()
	w := c.workers[c.seats[i%len(c.seats)]]
	c.mu.Unlock()
	w.kill()
}

// close ends the crew; it tells what is left in the workers.
func (c *crew) close() string {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	for i := range c.seats {
		c.kill(i)
	}
	c.wg.Wait()
	var left []string
	for _, b := range c.backs {
		if s := leftovers(b); s != "" {
			left = append(left, s)
		}
	}
	return strings.Join(left, "; ")
}

// invoke does what the input says: words separated by spaces, the last is the
// call's name.
func (w *worker) invoke(ctx context.Context, input, dst []byte) ([]byte, error) {
	words := strings.Fields(string(input))
	w.crew.mu.Lock()
	w.crew.begun[string(input)]++
	w.crew.mu.Unlock()
	for i, word := range words[:len(words)-1] {
		if err := w.do(ctx, word, words[i+1:]); err != nil {
			return dst, err
		}
		if strings.HasPrefix(word, "nest") {
			break
		}
	}
	return append(dst, input...), nil
}

func (w *worker) do(ctx context.Context, word string, rest []string) error {
	r := peer.FromContext(ctx)
	switch word {
	case "ms":
		pause(time.Millisecond)
	case "slow":
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	case "stubborn":
		pause(300 * time.Millisecond)
	case "fail":
		return errors.New("failed")
	case "panic":
		panic("panicked")
	case "exit":
		runtime.Goexit()
	case "die":
		w.kill()
		<-ctx.Done()
	case "log":
		return r.Log(&peer.Record{Message: "hello"})
	case "progress":
		r.Progress(1, 2)
	case "nest":
		return w.nest(ctx, strings.Join(rest, " "))
	case "nests":
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() { _ = w.nest(ctx, fmt.Sprint(strings.Join(rest, " "), "-", i)) })
		}
		wg.Wait()
	}
	return nil
}

// pause lets time pass, which is that of a bubble.
func pause(d time.Duration) { <-time.After(d) }

// nest makes a call from inside of a call.
func (w *worker) nest(ctx context.Context, input string) error {
	r := peer.FromContext(ctx)
	p := NewPending()
	defer p.Put()
	p.Spec = &Spec{Key: keys[0], Name: "f", Depth: r.Info().Depth + 1, Parent: r.Place()}
	p.Input = append(p.Buf[:0], input...)
	out := w.back.Do(ctx, p, r)
	if out.Err == nil && string(out.Output) != input {
		return fmt.Errorf("asked for %q, got %q", input, out.Output)
	}
	return out.Err
}
