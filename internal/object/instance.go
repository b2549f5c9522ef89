package object

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// maxActive is how many methods of one concurrent object run at a time.
const maxActive = 1024

// instance is one object.
type instance struct {
	*Host
	class *Class
	name  string
	maker *source // the object lives as long as who made it has its handle

	mu      sync.Mutex
	value   any // nil until the constructor has returned; does not change then
	token   string
	queue   []*job // first in, first out
	running map[*job]struct{}
	holders map[*source]struct{}
	freed   bool
}

// source is a stream that requests come from.
type source struct {
	stream *mux.Stream
	used   int // of its window, by requests without a reply; guarded by instance.mu
}

// job is one request.
type job struct {
	*wire.Request
	from *source
	came time.Time

	// Guarded by instance.mu:
	cancel   context.CancelCauseFunc // while it runs
	canceled error                   // why it must not begin
}

func newInstance(h *Host, class *Class, name string, maker *mux.Stream) *instance {
	return &instance{Host: h, class: class, name: name, maker: &source{stream: maker},
		running: map[*job]struct{}{}, holders: map[*source]struct{}{}}
}

// born makes what the constructor has returned usable, under a token, unless the
// maker has gone.
func (o *instance) born(value any) (token string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.value = value
	if o.freed {
		return "", false
	}
	o.token = o.Home.Export(o)
	return o.token, true
}

// Hold takes the stream of a holder. It is a handle.Exported.
func (o *instance) Hold(s *mux.Stream, _ handle.Lost) error {
	src := &source{stream: s}
	o.mu.Lock()
	if o.freed {
		o.mu.Unlock()
		return fmt.Errorf("%w: the object of %s is closed", handle.ErrUnreachable, o.name)
	}
	o.holders[src] = struct{}{}
	o.mu.Unlock()
	s.Handle(func(item []byte, owned bool) { o.take(src, item, owned) }, func(err error) { o.leave(src, peer.CauseOf(err)) })
	go func() { _ = s.SendNow(o.Base, nil, nil) }() // the welcome; it fails with the stream
	return nil
}

// take takes a request; a link's reader calls it. What is not one ends the handle
// that it came by.
func (o *instance) take(from *source, item []byte, owned bool) {
	q, err := wire.ParseRequest(copied(item, owned))
	switch {
	case err != nil:
	case q.Op == wire.OpCancel:
		var cause *peer.Fault
		if cause, err = peer.DecodeError(q.Input); err == nil {
			o.cancel(from, q.ID, cause)
		}
	default:
		err = o.enter(&job{Request: q, from: from, came: time.Now()})
	}
	if err != nil {
		peer.Finish(from.stream, wire.Ending{Code: wire.EndClosed}, err)
	}
}

// enter has a job wait for its turn.
func (o *instance) enter(j *job) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.freed {
		return nil // its stream is about to end
	}
	if o.value == nil {
		return fmt.Errorf("%w: request before the object was there", wire.ErrMalformed)
	}
	if !fits(j.from.used, len(j.Input)) {
		return fmt.Errorf("%w: more requests than the window of %d bytes", wire.ErrMalformed, windowSize)
	}
	j.from.used += costOf(len(j.Input))
	o.queue = append(o.queue, j)
	if len(o.running) < o.most() {
		go o.run(o.next())
	}
	return nil
}

func (o *instance) most() int {
	if o.class.Concurrent {
		return maxActive
	}
	return 1
}

// next takes the first job that waits; o.mu is held.
func (o *instance) next() *job {
	if len(o.queue) == 0 {
		return nil
	}
	j := o.queue[0]
	o.queue[0] = nil
	o.queue = o.queue[1:]
	o.running[j] = struct{}{}
	return j
}

// run runs a job and then those that wait for their turn.
func (o *instance) run(j *job) {
	whole := false
	defer func() {
		if !whole { // runtime.Goexit in a method
			if next := o.done(j); next != nil {
				go o.run(next)
			}
		}
	}()
	for j != nil {
		o.serve(j)
		j = o.done(j)
	}
	whole = true
}

// begin tells why a job that has its turn must not begin all the same. Otherwise
// cancel ends it from then on.
func (o *instance) begin(j *job, cancel context.CancelCauseFunc) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if j.canceled == nil && o.freed {
		j.canceled = peer.ErrStreamClosed
	}
	j.cancel = cancel
	return j.canceled
}

// settle notes that a job has a reply.
func (o *instance) settle(j *job) {
	o.mu.Lock()
	defer o.mu.Unlock()
	j.from.used -= costOf(len(j.Input))
}

// done ends a job and returns the next, if it has its turn.
func (o *instance) done(j *job) *job {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.running, j)
	if o.freed {
		if len(o.running) == 0 {
			go o.close()
		}
		return nil
	}
	return o.next()
}

// cancel ends a job: one that waits never begins.
func (o *instance) cancel(from *source, id uint64, cause error) {
	match := func(j *job) bool { return j.from == from && j.ID == id }
	for _, j := range o.drop(cause, match) {
		go o.answer(j, wire.Reply{}, cause) // a link's reader must not wait for credit
	}
}

// drop ends the jobs that match: those that run are canceled, those that wait
// are forgotten and returned.
func (o *instance) drop(cause error, match func(*job) bool) (waited []*job) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kept := o.queue[:0]
	for _, j := range o.queue {
		if match(j) {
			waited = append(waited, j)
		} else {
			kept = append(kept, j)
		}
	}
	clear(o.queue[len(kept):])
	o.queue = kept
	for j := range o.running {
		if !match(j) {
			continue
		}
		if j.canceled = cause; j.cancel != nil {
			j.cancel(cause)
		}
	}
	return waited
}

// leave forgets a holder.
func (o *instance) leave(holder *source, cause error) {
	o.drop(cause, func(j *job) bool { return j.from == holder })
	o.mu.Lock()
	delete(o.holders, holder)
	o.mu.Unlock()
	peer.Finish(holder.stream, wire.Ending{Code: wire.EndClosed}, cause) // if it only said that it sends no more
}

// free ends the object: its maker has closed it, or is gone.
func (o *instance) free(cause error) {
	o.mu.Lock()
	o.freed = true
	if o.token != "" {
		o.Home.Withdraw(o.token)
	}
	holders := o.holders
	o.holders = map[*source]struct{}{}
	idle := o.value != nil && len(o.running) == 0
	o.mu.Unlock()
	o.drop(cause, func(*job) bool { return true })
	if idle {
		go o.close()
	}
	peer.Finish(o.maker.stream, wire.Ending{Code: wire.EndClosed}, cause) // likewise
	for h := range holders {
		peer.Finish(h.stream, wire.Ending{Code: wire.EndClosed}, errors.New("the object was closed by who made it"))
	}
}
