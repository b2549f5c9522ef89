package mux

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// keepalive notices a peer that is silent. Any byte is a sign of life; only
// when none came for a period is a ping sent, and after Misses periods without
// a byte the session fails. Both ends do this, so each knows of the other's
// death within (Misses+1) periods.
type keepalive struct {
	period atomic.Int64 // nanoseconds; negative: off
	heard  atomic.Int64 // how many times bytes have arrived

	mu      sync.Mutex
	timer   *time.Timer
	last    int64 // heard, at the last tick
	misses  int
	stopped bool
}

func (k *keepalive) start(s *Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.period.Store(int64(s.config.Keepalive))
	k.timer = time.AfterFunc(s.config.Keepalive, func() { k.tick(s) })
	if s.config.Keepalive < 0 || k.stopped {
		k.timer.Stop()
	}
}

func (k *keepalive) reset(period time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.period.Store(int64(period))
	if k.timer == nil || k.stopped {
		return
	}
	if period < 0 {
		k.timer.Stop()
	} else {
		k.timer.Reset(period)
	}
}

func (k *keepalive) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	if k.timer != nil {
		k.timer.Stop()
	}
}

func (k *keepalive) tick(s *Session) {
	period := time.Duration(k.period.Load())
	k.mu.Lock()
	heard := k.heard.Load()
	if heard != k.last {
		k.last, k.misses = heard, 0
	} else {
		k.misses++
	}
	silent, stopped := k.misses, k.stopped
	k.mu.Unlock()
	if stopped || period < 0 {
		return
	}
	if silent > Misses {
		s.fail(fmt.Errorf("%w for %v (%d keepalive periods)", ErrSilent, time.Duration(silent)*period, silent))
		return
	}
	if silent > 0 {
		s.postFrame(wire.Header{Kind: wire.Ping}, nil)
		s.Kick()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.stopped {
		k.timer.Reset(period)
	}
}
