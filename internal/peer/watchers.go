package peer

import "sync"

// watchers is what is to be done when a call has ended.
type watchers struct {
	mu   sync.Mutex
	over bool
	last uint64
	do   map[uint64]func(error)
}

// OnEnd has do called, once, with how a call has ended: ErrReturned, or the error
// that it returned. The contexts of calls do not tell, since several share one.
// stop ends that. What runs over a stream of its own, and a call that has ended,
// do without: their contexts tell.
func (r *Running) OnEnd(do func(error)) (stop func()) {
	if r.chunk == nil {
		return func() {}
	}
	r.watched.CompareAndSwap(nil, new(watchers))
	e := r.watched.Load()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return func() {}
	}
	if e.do == nil {
		e.do = map[uint64]func(error){}
	}
	e.last++
	id := e.last
	e.do[id] = do
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.do, id)
	}
}

// ended calls what OnEnd was given.
func (r *Running) ended(err error) {
	e := r.watched.Load()
	if e == nil {
		return
	}
	if err == nil {
		err = ErrReturned
	}
	e.mu.Lock()
	e.over = true
	all := e.do
	e.do = nil
	e.mu.Unlock()
	for _, do := range all {
		do(err)
	}
}
