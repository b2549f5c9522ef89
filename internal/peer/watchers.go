package peer

import "sync"

// watchers is what is to be done when a call, a routine or a method has ended.
type watchers struct {
	mu   sync.Mutex
	over bool
	last uint64
	do   map[uint64]func(error)
}

// OnEnd has do called, once, with how what runs has ended: ErrReturned, or the
// error that it returned. It is called before the far side hears of the end, and
// the contexts of calls do not even tell, since several share one. stop ends that.
// After the end do is not called.
func (r *Running) OnEnd(do func(error)) (stop func()) {
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

// Ended calls what OnEnd was given, with ErrReturned in place of nil. Who runs a
// routine or a method calls it when that has ended.
func (r *Running) Ended(err error) {
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
