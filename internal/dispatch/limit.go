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
	if ch.timer == nil {
		ch.timer = time.AfterFunc(c.Spec.Timeout, func() { l.expire(ch) })
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
	w := &work{}
	l.d.mu.Lock()
	defer l.d.unlock(w)
	c := l.current(ch)
	if c == nil || c.Spec.Timeout <= 0 || ch.timer == nil {
		return
	}
	if left := c.Spec.Timeout - time.Since(ch.since); left > 0 {
		ch.timer.Reset(left)
		return
	}
	ch.timer = nil
	c.timedOut = true
	w.after = append(w.after, func() {
		l.conn.Cancel(wire.Place{Chunk: ch.id, Index: c.at}, context.DeadlineExceeded)
	})
	l.grace(ch, c)
}

// grace kills the worker when, after the call's grace, it is still at a call
// that was canceled or has timed out.
func (l *Lane) grace(ch *chunk, c *Call) {
	if l.relay {
		return // the far side sees to it
	}
	time.AfterFunc(c.Spec.grace(), func() {
		w := &work{}
		l.d.mu.Lock()
		defer l.d.unlock(w)
		at := l.current(ch)
		if at == nil || l.killed != nil || !at.timedOut && !at.abandoned {
			return
		}
		l.killed = at
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
	l.grace(ch, mine[0])
	w.after = append(w.after, func() {
		if !others {
			l.conn.Cancel(wire.Place{Chunk: ch.id, Index: wire.Whole}, cause)
			return
		}
		for _, c := range mine {
			l.conn.Cancel(wire.Place{Chunk: ch.id, Index: c.at}, cause)
		}
	})
}
