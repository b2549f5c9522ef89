package peer

import (
	"sync/atomic"
	"time"
)

// watch looks after calls that are not quick, at every tick: reading goes on
// elsewhere, results before them are sent, calls behind them are handed back.
// It sleeps while there is nothing to look after.
type watch struct {
	tick   atomic.Int64
	asleep atomic.Bool
	wake   chan struct{}
}

const (
	tickPeriod = time.Millisecond
	// releaseAfter is how many ticks a call may run before those that wait behind
	// it are handed back to be run elsewhere.
	releaseAfter = 5
	// releaseChunk is how many ticks a chunk may run before its rest is handed
	// back: its calls turned out to be slower than those before them.
	releaseChunk = 2 * releaseAfter
	// linger is how many ticks the watch stays awake when nothing happens.
	linger = 25
)

func (w *watch) rouse() {
	if w.asleep.Load() && w.asleep.CompareAndSwap(true, false) {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// guard is the watch's goroutine.
func (x *Executor) guard() {
	w := &x.watch
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	idle := linger
	for {
		if idle >= linger {
			w.asleep.Store(true)
			if !x.look() { // nothing began before asleep was set
				select {
				case <-w.wake:
				case <-x.base.Done():
					return
				}
			}
			w.asleep.Store(false)
			idle = 0
		}
		timer.Reset(tickPeriod)
		select {
		case <-timer.C:
		case <-x.base.Done():
			return
		}
		w.tick.Add(1)
		if idle++; x.look() {
			idle = 0
		}
	}
}

// look tells whether there is something left to look after.
func (x *Executor) look() bool {
	now := x.watch.tick.Load()
	x.mu.Lock()
	busy := false
	flush := false
	for ch := range x.running {
		b, f := ch.look(now)
		busy, flush = busy || b, flush || f
	}
	for i := 0; i < len(x.queue); {
		if ch := x.queue[i]; now-ch.queued >= releaseAfter {
			x.drop(ch)
			flush = true
		} else {
			busy = true
			i++
		}
	}
	x.mu.Unlock()
	if flush {
		x.conn.session.Kick()
	}
	return busy
}

// look looks after one chunk; busy says to look again.
func (ch *chunk) look(now int64) (busy, flush bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if now == ch.began || ch.finished {
		return !ch.finished, false
	}
	ch.handOff()
	if ch.count > 0 {
		ch.post()
		flush = true
	}
	if now-ch.began >= releaseAfter || now-ch.entered >= releaseChunk {
		flush = ch.release(ch.index+1) || flush
	}
	return ch.limit > ch.index+1, flush
}

// handOff sees to it that reading goes on if the chunk runs in the reader.
// ch.mu is held.
func (ch *chunk) handOff() {
	if ch.turn != 0 {
		ch.x.conn.session.HandOff(ch.turn)
		ch.turn = 0
	}
}
