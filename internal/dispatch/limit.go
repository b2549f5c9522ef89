package dispatch

import (
	"context"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// arm starts the clock of the call that a chunk is at, if it has a timeout.
// The clock of a chunk is not reset with every result; when it rings early it
// is set again.
func (l *Lane) arm(ch *chunk) {
	if l.relay || ch.next >= len(ch.calls) {
		return
	}
	c := ch.calls[ch.next]
	if c.Spec.Timeout <= 0 {
		return
	}
	ch.since = time.Now()
	switch due := ch.since.Add(c.Spec.Timeout); {
	case ch.timer == nil:
		ch.timer, ch.rings = time.AfterFunc(c.Spec.Timeout, func() { l.expire(ch) }), due
	case due.Before(ch.rings): // calls of one chunk may have different timeouts
		ch.timer.Reset(c.Spec.Timeout)
		ch.rings = due
	}
}

func (ch *chunk) stop() {
	if ch.timer != nil {
		ch.timer.Stop()
		ch.timer = nil
	}
}

// current returns the call that a chunk is at, nil when it has ended.
func (l *Lane) current(ch *chunk) *Call {
	if l.gone || ch.left == 0 || !ch.running || ch.next >= len(ch.calls) {
		return nil
	}
	return ch.calls[ch.next]
}

// expire cancels a call that has run for its timeout.
func (l *Lane) expire(ch *chunk) {
	w := l.d.lock()
	defer l.d.unlock(w)
	timer, c := ch.timer, l.current(ch)
	if timer == nil {
		return
	}
	ch.timer = nil
	if c == nil || c.Spec.Timeout <= 0 || c.timedOut {
		return
	}
	if left := c.Spec.Timeout - time.Since(ch.since); left > 0 {
		timer.Reset(left)
		ch.timer, ch.rings = timer, time.Now().Add(left)
		return
	}
	c.timedOut = true
	at := wire.Place{Chunk: ch.id, Index: c.at}
	w.after = append(w.after, func() { l.conn.Cancel(at, context.DeadlineExceeded, ch.large) })
	l.grace(ch, c)
}

// grace kills the worker when it is still at one of these calls, which were
// canceled or have timed out, after the call's grace. They have one Spec.
func (l *Lane) grace(ch *chunk, calls ...*Call) {
	if l.relay {
		return // the far side sees to it
	}
	now := time.Now()
	for _, c := range calls {
		if c.stopped.IsZero() {
			c.stopped = now
		}
	}
	time.AfterFunc(calls[0].Spec.grace(), func() {
		w := l.d.lock()
		defer l.d.unlock(w)
		at := l.current(ch)
		if at == nil || l.killed != "" || at.stopped.IsZero() || time.Since(at.stopped) < at.Spec.grace() {
			return
		}
		l.killed = at.Spec.Name
		w.kill = append(w.kill, l)
	})
}

// leave cancels what a chunk holds of a source.
func (l *Lane) leave(w *work, ch *chunk, s *Source, cause error) {
	var mine []*Call
	others := false
	for _, c := range ch.calls {
		switch {
		case c == nil || c.chunk != ch || c.abandoned:
		case c.source == s:
			c.abandoned = true
			mine = append(mine, c)
		default:
			others = true
		}
	}
	for _, c := range ch.calls {
		if c != nil && c.source == s {
			c.abandoned = true // also those whose log records are being handled
		}
	}
	if len(mine) == 0 {
		return
	}
	l.grace(ch, mine...)
	places := []wire.Place{{Chunk: ch.id, Index: wire.Whole}}
	if others {
		places = places[:0]
		for _, c := range mine {
			places = append(places, wire.Place{Chunk: ch.id, Index: c.at})
		}
	}
	w.after = append(w.after, func() {
		for _, at := range places {
			l.conn.Cancel(at, cause, ch.large)
		}
	})
}
