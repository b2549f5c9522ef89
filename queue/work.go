package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar"
)

// DefaultLease is how long a worker may be silent before its tasks are given to others.
const DefaultLease = 15 * time.Second

// WorkConfig says how to work for a queue. The zero value is useful.
type WorkConfig struct {
	// Concurrency is how many tasks run at a time. 0: as many as Pool has workers, or
	// GOMAXPROCS without a Pool.
	Concurrency int
	// Pool is where functions run. nil: in this process, but for tasks with a timeout, which
	// run in worker processes of this program, as many as Concurrency, since only a
	// process can be stopped. Who gives a Pool closes it.
	Pool *afar.Pool
	// Lease is for how long this worker may be silent before its tasks are given to others,
	// at least 100 ms. It is renewed three times as often, so a task may take as
	// long as it likes. 0: DefaultLease.
	Lease time.Duration
	// Drain is how long tasks may go on that run when ctx ends. Those that do not end by then
	// are interrupted and handed back, which costs them no attempt. 0: not at all.
	Drain time.Duration
	// Name is what Stats and results call this worker, unique at the queue. "": host, process
	// and a number.
	Name string
	// Level is the lowest level of log records that are kept with tasks. nil: slog.LevelInfo.
	Level slog.Leveler
	// Log gets what happens to the worker itself. nil: slog.Default.
	Log *slog.Logger
	// Programs runs the tasks instead of Pool, those of other programs too: it is what a
	// node has. nil: all tasks are taken to be this program's.
	Programs Programs
	// Ready is called when the worker is among those that listen. nil: nobody wants to know.
	Ready func()
	// Commands allows tasks that are a Command, which anybody can be who can submit.
	Commands bool
}

func (c WorkConfig) complete() (WorkConfig, error) {
	switch {
	case c.Concurrency < 0:
		return c, fmt.Errorf("queue: WorkConfig.Concurrency is negative: %d", c.Concurrency)
	case c.Lease != 0 && c.Lease < minLease:
		return c, fmt.Errorf("queue: WorkConfig.Lease of %v is too short: at least %v", c.Lease, minLease)
	case c.Drain < 0:
		return c, fmt.Errorf("queue: WorkConfig.Drain is negative: %v", c.Drain)
	}
	if c.Concurrency == 0 && c.Pool != nil {
		c.Concurrency = len(c.Pool.Gateways())
	}
	c.Concurrency = cmp.Or(c.Concurrency, runtime.GOMAXPROCS(0))
	c.Lease = cmp.Or(c.Lease, DefaultLease)
	if c.Name == "" {
		host, _ := os.Hostname()
		c.Name = fmt.Sprintf("%s/%d/%d", cmp.Or(host, "host"), os.Getpid(), workers.Add(1))
	}
	if c.Level == nil {
		c.Level = slog.LevelInfo
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c, checkName("WorkConfig.Name", c.Name)
}

// minLease is the shortest lease.
const minLease = 100 * time.Millisecond

// workers numbers those of this process.
var workers atomic.Int64

// work is one Work.
type work struct {
	queue  *Queue
	config WorkConfig
	level  slog.Level
	places places

	base context.Context // of deliveries, which end one by one
	life context.Context // of requests to the broker; ends when everything is settled
	end  context.CancelFunc

	line    chan *delivery // those that were taken and not begun
	settles chan *ended
	said    chan struct{} // a delivery has something to tell
	room    chan struct{} // a place has become free

	telling sync.Mutex // so that nothing is told of a delivery after its end

	mu      sync.Mutex
	held    map[string]*delivery // by ID, until they are settled
	busy    int                  // deliveries in line or running
	pace    time.Duration        // how long functions take, about
	closing bool                 // nothing that was taken begins any more
}

// Work serves this program's functions to the queue until ctx ends, and then returns nil,
// once nothing of it is left: tasks that were taken and had not begun are handed
// back, those that run are treated as Drain says. When the broker is out of reach then, it is given
// up after Lease, since nothing is held any more. An error is one of the configuration, or
// of the broker, which is to be closed when Work has returned.
//
// A task is leased to one worker at a time. It is given to another when the worker has not
// been heard of for Lease, which costs it an attempt; whichever is the first then to
// give it an outcome has given it. Functions with effects that must not come from two
// workers pass on the fencing token: see Current.
func (q *Queue) Work(ctx context.Context, c WorkConfig) error {
	if q.bad != nil {
		return q.bad
	}
	c, err := c.complete()
	if err != nil {
		return err
	}
	w := &work{queue: q, config: c, level: c.Level.Level(), places: places{config: c},
		line: make(chan *delivery, c.Concurrency+maxAhead), settles: make(chan *ended, maxBatch),
		said: make(chan struct{}, 1), room: make(chan struct{}, 1), held: map[string]*delivery{}}
	w.base = context.WithoutCancel(ctx)
	w.life, w.end = context.WithCancel(w.base)
	defer w.end()
	return w.serve(ctx)
}

// serve takes deliveries until ctx ends or the broker fails, and sees them to their ends.
func (w *work) serve(ctx context.Context) error {
	var running, telling sync.WaitGroup
	telling.Go(w.renew)
	telling.Go(w.listen)
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		w.settle()
	}()
	for range w.config.Concurrency {
		running.Go(w.run)
	}
	err := w.greet(ctx)
	if err == nil {
		err = w.take(ctx)
	}
	w.stop()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		running.Wait()
	}()
	w.drain(drained)
	close(w.settles)
	late := time.AfterFunc(w.config.Lease, w.end) // then the leases have ended, whether they were settled or not
	<-settled
	late.Stop()
	w.leave()
	w.end()
	telling.Wait()
	w.places.close()
	return err
}

// leavePatience is how long a worker that goes tries to say so.
const leavePatience = 5 * time.Second

// leave tells the broker that nobody listens here any more.
func (w *work) leave() {
	ctx, cancel := context.WithTimeout(w.life, leavePatience)
	defer cancel()
	if _, err := w.queue.broker.Change(ctx, w.queue.name, Change{Verb: Leave, Worker: w.config.Name}); err != nil && !errors.Is(err, ErrClosed) {
		w.config.Log.Warn("queue: a worker left without saying so", "queue", w.queue.name, "error", err)
	}
}

// greet tells the broker, and then Ready, that there is a worker.
func (w *work) greet(ctx context.Context) error {
	_, err := w.queue.broker.Renew(ctx, w.queue.name, w.config.Name, nil)
	switch {
	case err == nil && w.config.Ready != nil:
		w.config.Ready()
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("queue: working for %s: %w", w.queue.name, err)
	}
	return nil
}

// takePatience is how long one request for tasks waits.
const takePatience = 10 * time.Second

// take takes deliveries.
func (w *work) take(ctx context.Context) error {
	for {
		n := w.free(ctx)
		if n == 0 {
			return nil
		}
		ds, err := w.queue.broker.Take(ctx, w.queue.name,
			TakeRequest{Worker: w.config.Name, Max: n, Lease: w.config.Lease, Wait: takePatience})
		for i := range ds {
			w.accept(&ds[i])
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("queue: working for %s: %w", w.queue.name, err)
		}
	}
}

// Bounds of what is taken ahead of the tasks that run.
const (
	maxAhead  = 512
	aheadTime = 5 * time.Millisecond // it is begun within about this time
)

// free waits until something can be taken, and returns how much: as much as can be
// begun at once, and quick tasks some more, so that a request brings many. It
// returns 0 when ctx has ended.
func (w *work) free(ctx context.Context) int {
	for {
		w.mu.Lock()
		ahead := 0
		if w.pace > 0 {
			ahead = int(min(maxAhead, time.Duration(w.config.Concurrency)*aheadTime/w.pace))
		}
		n := w.config.Concurrency + ahead - w.busy
		w.mu.Unlock()
		if ctx.Err() != nil {
			return 0
		}
		if n > 0 && n >= ahead/2 {
			return min(n, maxBatch)
		}
		select {
		case <-w.room:
		case <-ctx.Done():
			return 0
		}
	}
}

// accept puts a delivery in line.
func (w *work) accept(d *Delivery) {
	it := newDelivery(w, d)
	w.mu.Lock()
	w.busy++
	w.held[d.ID] = it
	w.mu.Unlock()
	w.line <- it
}

// over frees the place of a delivery that took so long.
func (w *work) over(took time.Duration) {
	w.mu.Lock()
	w.busy--
	w.pace += (max(took, time.Microsecond) - w.pace) / 8
	w.mu.Unlock()
	signal(w.room)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run runs deliveries one after the other.
func (w *work) run() {
	for d := range w.line {
		began := time.Now()
		end := d.run()
		w.over(time.Since(began))
		if end != nil {
			w.settles <- end
		} else {
			w.forget(d)
		}
	}
}

// stop has nothing more begin that was taken.
func (w *work) stop() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	close(w.line)
}

func (w *work) stopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing
}

// drain waits until nothing runs, and interrupts what does after a while.
func (w *work) drain(drained chan struct{}) {
	if w.config.Drain > 0 {
		timer := time.NewTimer(w.config.Drain)
		defer timer.Stop()
		select {
		case <-drained:
		case <-timer.C:
		}
	}
	w.mu.Lock()
	for _, d := range w.held {
		d.cancel(errInterrupted)
	}
	w.mu.Unlock()
	<-drained
}

// forget is for a delivery that is settled, or lost.
func (w *work) forget(d *delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[d.ID] == d {
		delete(w.held, d.ID)
	}
}
