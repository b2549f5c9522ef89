package testlink

import (
	"sync"
	"time"
)

// lane is one direction of a Link: a bounded queue of pieces that come out when
// they are due.
type lane struct {
	mu      sync.Mutex
	changed sync.Cond // broadcast at every change of what follows

	pieces []piece
	size   int   // bytes in pieces
	err    error // no more is taken, and given what has come, this
	lost   bool  // what has come does not count either
	timer  *time.Timer

	// putting is set while one writer has its turn. A mutex would do the same,
	// but a goroutine that waits for a mutex is not durably blocked under
	// synctest.
	putting bool

	delay   time.Duration
	rate    int // bytes in a second; 0: no limit
	free    time.Time
	corrupt int // of so many bytes one; 0: none
	count   int // bytes since the last one
	stalled bool
}

// piece is bytes that entered together.
type piece struct {
	data []byte
	due  time.Time
}

func newLane() *lane {
	a := &lane{}
	a.changed.L = &a.mu
	return a
}

// change changes how the lane misbehaves.
func (a *lane) change(f func(*lane)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a)
	a.changed.Broadcast()
}

// put takes all bytes of bufs, waiting for room, and returns how many it took.
func (a *lane) put(bufs ...[]byte) (total int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.putting && a.err == nil {
		a.changed.Wait()
	}
	if a.err != nil {
		return 0, a.err
	}
	a.putting = true
	defer func() {
		a.putting = false
		a.changed.Broadcast()
	}()
	for _, p := range bufs {
		for len(p) > 0 {
			for a.size >= capacity && a.err == nil {
				a.changed.Wait()
			}
			if a.err != nil {
				return total, a.err
			}
			n := min(len(p), capacity-a.size)
			a.enter(p[:n])
			p, total = p[n:], total+n
		}
	}
	return total, nil
}

// enter takes a piece; a.mu is held.
func (a *lane) enter(p []byte) {
	data := append([]byte(nil), p...)
	if a.corrupt > 0 {
		for i := range data {
			if a.count++; a.count == a.corrupt {
				a.count = 0
				data[i] ^= 1 << (i % 8)
			}
		}
	}
	due := time.Now().Add(a.delay)
	if n := len(a.pieces); n > 0 && due.Before(a.pieces[n-1].due) {
		due = a.pieces[n-1].due
	}
	a.pieces = append(a.pieces, piece{data, due})
	a.size += len(data)
	a.changed.Broadcast()
}

// get gives what is due, waiting for it.
func (a *lane) get(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		switch {
		case a.lost, a.err != nil && len(a.pieces) == 0:
			return 0, a.err
		case len(p) == 0:
			return 0, nil
		case len(a.pieces) > 0 && !a.stalled:
			now := time.Now()
			at := a.pieces[0].due
			if a.rate > 0 && a.free.After(at) {
				at = a.free
			}
			if !at.After(now) {
				return a.leave(p, now), nil
			}
			a.wakeIn(at.Sub(now))
		}
		a.changed.Wait()
	}
}

// leave moves bytes of the first piece to p; a.mu is held.
func (a *lane) leave(p []byte, now time.Time) int {
	if a.rate > 0 {
		// A hundredth of a second's worth at a time, so that it flows.
		n := min(len(p), max(1, a.rate/100), len(a.pieces[0].data))
		p = p[:n]
		a.free = now.Add(time.Duration(n) * time.Second / time.Duration(a.rate))
	}
	first := &a.pieces[0]
	n := copy(p, first.data)
	if first.data = first.data[n:]; len(first.data) == 0 {
		a.pieces = a.pieces[1:]
	}
	a.size -= n
	a.changed.Broadcast()
	return n
}

// wakeIn wakes who waits in get; a.mu is held.
func (a *lane) wakeIn(d time.Duration) {
	if a.timer == nil {
		a.timer = time.AfterFunc(d, func() { a.change(func(*lane) {}) })
	} else {
		a.timer.Reset(d)
	}
}

// finish ends the lane once everything that has entered has left.
func (a *lane) finish(err error) {
	a.change(func(a *lane) {
		if a.err == nil {
			a.err = err
		}
	})
}

// end ends the lane at once.
func (a *lane) end(err error) {
	a.change(func(a *lane) {
		if a.err == nil || !a.lost {
			a.err = err
		}
		a.lost = true
		a.pieces, a.size = nil, 0
		if a.timer != nil {
			a.timer.Stop()
		}
	})
}
