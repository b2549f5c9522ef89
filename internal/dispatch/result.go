package dispatch

import (
	"fmt"
	"time"

	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// Results takes results; the link's reader calls it.
func (l *Lane) Results(id uint64, first, n int, elapsed time.Duration, body *wire.Reader, owned bool) error {
	if !owned {
		body = wire.NewReader(append([]byte(nil), body.Rest()...))
	}
	l.d.mu.Lock()
	ch := l.find(id)
	if ch == nil || l.gone {
		l.d.mu.Unlock()
		return nil // of a chunk that was given up
	}
	if n < 1 || first+n > len(ch.calls) {
		l.d.mu.Unlock()
		return fmt.Errorf("%w: results %d to %d of a chunk of %d", wire.ErrMalformed, first, first+n, len(ch.calls))
	}
	answers := append(l.scratch[:0], make([]answer, n)...)
	l.scratch = answers
	defer clear(answers)
	for i := range answers {
		c := ch.open(first + i)
		if c == nil {
			l.d.mu.Unlock()
			return errTwice
		}
		// The call itself may end and be used again once the mutex is unlocked.
		answers[i] = answer{spec: c.Spec, late: c.timedOut}
	}
	l.d.mu.Unlock()
	for i := range answers {
		if err := l.read(&answers[i], body); err != nil {
			return err
		}
	}
	if err := body.End(); err != nil {
		return err
	}
	if whole := body.Whole(); n == 1 && len(answers[0].out.Output) > chunkBytes {
		answers[0].out.whole = whole // nothing else is in it
	}
	return l.commit(ch, first, answers, elapsed)
}

var errTwice = fmt.Errorf("%w: second result of a call", wire.ErrMalformed)

// answer is a result that was read.
type answer struct {
	spec   *Spec
	out    Outcome
	late   bool   // the call ran longer than its timeout
	retry  bool   // the policy wants another attempt
	logged uint64 // kept back until so many notes were handled
}

// read reads a result and asks the policy about it.
func (l *Lane) read(a *answer, body *wire.Reader) error {
	r, err := wire.ParseResult(body)
	if err != nil {
		return err
	}
	a.logged = r.Logged
	failed := r.Status&wire.StatusFailed != 0
	// A result that came although we had given up on it counts, unless the worker
	// says that it came late: its clock knows when the call began.
	a.late = a.late && failed || r.Status&wire.StatusLate != 0
	a.out = Outcome{Output: r.Payload, Worker: l.name}
	if failed {
		fault, err := peer.DecodeError(r.Payload)
		if err != nil {
			return err
		}
		a.out = Outcome{Err: relayed(fault), Worker: l.name}
		if fault.Worker != "" {
			a.out.Worker = fault.Worker
		}
	}
	if a.late {
		a.out = Outcome{Err: ErrTimeout, Worker: l.name}
	}
	_, lost := a.out.Err.(*Lost) // of a nested call, after all its attempts
	a.retry = a.out.Err != nil && !lost && a.spec.RetryError != nil && a.spec.RetryError(a.out.Err)
	return nil
}

// commit enters results into the books.
func (l *Lane) commit(ch *chunk, first int, answers []answer, elapsed time.Duration) error {
	d := l.d
	w := d.lock()
	defer d.unlock(w)
	if l.gone || ch.left == 0 {
		return nil
	}
	if !l.relay {
		d.pace(answers[0].spec).learn(len(answers), elapsed)
	}
	for i := range answers {
		c := ch.open(first + i)
		if c == nil {
			return errTwice
		}
		ch.calls[first+i] = nil
		ch.left--
		l.calls--
		l.conclude(w, ch, c, &answers[i])
	}
	ch.advance()
	if ch.left == 0 {
		l.remove(ch)
	} else if ch.running {
		l.arm(ch)
	}
	return nil
}

// open returns the call at an index if it was not answered, nil otherwise.
func (ch *chunk) open(i int) *Call {
	if c := ch.calls[i]; c != nil && c.chunk == ch {
		return c
	}
	return nil
}

// advance moves next to the first call that was not answered.
func (ch *chunk) advance() {
	for ch.next < len(ch.calls) && ch.open(ch.next) == nil {
		ch.next++
	}
}

// conclude ends a call that was answered, or sends it again.
func (l *Lane) conclude(w *work, ch *chunk, c *Call, a *answer) {
	d := l.d
	l.done++
	if a.out.Err != nil {
		l.failed++
	}
	if a.logged == 0 || c.abandoned {
		d.decide(w, c, a.out, a.retry)
		return
	}
	// Its log records are still being handled: they come first.
	l.held[ch.id] = ch
	ch.held++
	ch.calls[c.at] = c
	c.chunk = nil
	out, retry, logged := a.out, a.retry, a.logged
	w.after = append(w.after, func() {
		l.conn.AfterNotes(logged, func() { l.unhold(ch, c, out, retry) })
	})
}

func (l *Lane) unhold(ch *chunk, c *Call, out Outcome, retry bool) {
	w := l.d.lock()
	defer l.d.unlock(w)
	ch.calls[c.at] = nil
	if ch.held--; ch.held == 0 {
		delete(l.held, ch.id)
	}
	l.d.decide(w, c, out, retry)
	if retry {
		l.d.place(w, true)
	}
}
