package mux

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// keepalive notices a peer that is silent. Any byte is a sign of life. An end
// that has heard none for a period pings, one that has written none shows that
// it lives, and after Misses periods without a byte the session fails. Both ends
// do this, so each knows of the other's death within (Misses+1) periods of its
// last byte.
//
// A ping alone would not do: on a slow link it and its answer may take longer
// than that, behind what was written before.
type keepalive struct {
	heard atomic.Int64 // how many times bytes have arrived

	mu      sync.Mutex
	period  time.Duration // negative: off
	ring    func()        // what the timer does; nil before start
	timer   *time.Timer   // nil until the period is first positive
	last    int64         // heard, at the last tick
	wrote   uint64        // writes, at the last tick
	misses  int
	stopped bool
}

func (k *keepalive) start(s *Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ring = func() { k.tick(s) }
	k.arm()
}

func (k *keepalive) reset(period time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.period, k.misses = period, 0
	k.arm()
}

func (k *keepalive) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	k.arm()
}

// arm makes the timer ring in a period, or not at all; k.mu is held.
func (k *keepalive) arm() {
	switch off := k.stopped || k.period < 0 || k.ring == nil; {
	case !off && k.timer == nil:
		k.timer = time.AfterFunc(k.period, k.ring)
	case !off:
		k.timer.Reset(k.period)
	case k.timer != nil:
		k.timer.Stop()
	}
}

func (k *keepalive) tick(s *Session) {
	if silent, lost := k.count(s); lost {
		s.fail(fmt.Errorf("%w for %v (%d keepalive periods)", ErrSilent, silent, Misses))
	}
}

// count tells whether the peer counts as lost, and pings it if that is still
// open.
func (k *keepalive) count(s *Session) (silent time.Duration, lost bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped || k.period < 0 {
		return 0, false
	}
	if heard := k.heard.Load(); heard != k.last {
		k.last, k.misses = heard, 0
	} else {
		k.misses++
	}
	if k.misses >= Misses {
		return time.Duration(k.misses) * k.period, true
	}
	writes := s.writes()
	if k.misses > 0 {
		s.relieve() // the silence may be our own
		s.postFrame(wire.Header{Kind: wire.Ping}, nil)
		s.Kick()
	} else if k.wrote == writes {
		s.pong()
	}
	k.wrote = writes
	k.arm()
	return 0, false
}
