package push

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Event is something that a push has done in a directory, or would do in a dry
// run.
type Event struct {
	Host, Worker string
	Op           string // of the constants
	Path         string // with slashes, below the directory
	Bytes        int64  // that were sent for it
}

// What a push does.
const (
	OpWrite  = "write"  // a file's content was sent
	OpChange = "change" // a directory or link was made, or a mode or time set
	OpDelete = "delete"
)

// Stats says what a push has done.
type Stats struct {
	Directories               int // that were pushed to
	Written, Changed, Deleted int // events
	Sent, Received            int64
}

// Worker is where Receive can be run.
type Worker struct {
	Name string
	// Open runs it there. Close must make it return.
	Open func(ctx context.Context) (io.ReadWriteCloser, error)
}

// Spreader pushes a source to the directory of one name of many workers.
type Spreader struct {
	Source *Source
	Dir    string
	Limit  int64            // bytes that may be written at a time
	Lost   func(error) bool // the worker was lost; another may take over
	Report func(Event)      // not called concurrently; or nil

	id    ID // its last byte is that of the attempt
	mu    sync.Mutex
	stats Stats
	errs  []error
}

// maxAtOnce is how many directories are pushed to at a time.
const maxAtOnce = 16

// Spread pushes to the workers; of those that have the same directory one
// receives. When it fails somewhere, it goes on elsewhere. What is wrong with the
// source is for Source.Err to say.
func (x *Spreader) Spread(ctx context.Context, workers []Worker) (Stats, error) {
	_, _ = rand.Read(x.id[:]) // it never fails
	begun := x.begin(ctx, workers)
	places := map[string][]*candidate{}
	var order []string
	for _, c := range begun {
		if c == nil {
			continue
		}
		defer func() { _ = c.link.Close() }()
		if places[c.Place.Key] == nil {
			order = append(order, c.Place.Key)
		}
		places[c.Place.Key] = append(places[c.Place.Key], c)
	}
	x.stats.Directories = len(order)
	turns := make(chan struct{}, maxAtOnce)
	var wg sync.WaitGroup
	for _, key := range order {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			x.place(ctx, places[key])
		})
	}
	wg.Wait()
	for _, c := range begun {
		if c != nil {
			sent, received := c.Traffic()
			x.stats.Sent += sent
			x.stats.Received += received
		}
	}
	return x.stats, errors.Join(x.errs...)
}

// candidate is a worker that could receive.
type candidate struct {
	*Session
	name string
	link io.Closer
}

// begin asks all workers which directory theirs is.
func (x *Spreader) begin(ctx context.Context, workers []Worker) []*candidate {
	begun := make([]*candidate, len(workers))
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() {
			link, err := w.Open(ctx)
			if err != nil {
				x.failed(fmt.Errorf("worker %s: %w", w.Name, err))
				return
			}
			s, err := Begin(link, x.Dir, x.Source.Options, x.Limit)
			if err != nil {
				_ = link.Close()
				x.failed(fmt.Errorf("worker %s: %w", w.Name, err))
				return
			}
			begun[i] = &candidate{s, w.Name, link}
		})
	}
	wg.Wait()
	return begun
}

func (x *Spreader) failed(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.errs = append(x.errs, err)
}

// place pushes to a directory, by way of the first worker that has it, or the next
// when that is lost.
func (x *Spreader) place(ctx context.Context, candidates []*candidate) {
	var errs []error
	for i, c := range candidates {
		c.ID = x.id
		c.ID[len(c.ID)-1] = byte(i)
		c.Report = func(e Event) { x.report(c, e) }
		err := c.Send(ctx, x.Source)
		if err == nil {
			return
		}
		errs = append(errs, fmt.Errorf("host %s, worker %s: %w", c.Place.Host, c.name, err))
		if ctx.Err() != nil || !x.Lost(err) {
			break
		}
	}
	x.failed(errors.Join(errs...))
}

// report counts an event and passes it on.
func (x *Spreader) report(c *candidate, e Event) {
	e.Host, e.Worker = c.Place.Host, c.name
	x.mu.Lock()
	defer x.mu.Unlock()
	switch e.Op {
	case OpWrite:
		x.stats.Written++
	case OpChange:
		x.stats.Changed++
	case OpDelete:
		x.stats.Deleted++
	}
	if x.Report != nil {
		x.Report(e)
	}
}
