package dispatch

import (
	"errors"
	"fmt"
	"time"

	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// A worker's functions may make calls of their own: they come in over the lane
// and join the others in the queue.

// Faults of these types are not a function's error but the dispatcher's own
// word about a call that it placed for another process.
const (
	faultLost  = "afar.lost"
	faultOther = "afar.error"
)

func init() {
	peer.RegisterError("afar.ErrTimeout", ErrTimeout)
	peer.RegisterError("afar.ErrClosed", ErrClosed)
	peer.RegisterError("afar.ErrUnknownFunction", ErrUnknownFunction)
	if err := peer.RegisterErrorType[*Lost]("afar.lost"); err != nil {
		panic(err)
	}
}

// Calls takes calls that the worker makes; the link's reader calls it.
func (l *Lane) Calls(id uint64, n int, body *wire.Reader, owned bool) error {
	if !owned {
		body = wire.NewReader(append([]byte(nil), body.Rest()...))
	}
	if n > maxChunk {
		return fmt.Errorf("%w: chunk of %d calls, limit %d", wire.ErrMalformed, n, maxChunk)
	}
	calls := make([]*Call, 0, n)
	var info *wire.Info
	var spec *Spec
	for i := range n {
		next, input, err := wire.ParseCall(body, info)
		if err != nil {
			return err
		}
		if next != info {
			info = next
			if spec, err = l.spec(info); err != nil {
				return err
			}
		}
		calls = append(calls, &Call{Spec: spec, Input: input,
			attempts: max(0, info.Attempt-1), To: reply{l, wire.Place{Chunk: id, Index: i}}})
	}
	if err := body.End(); err != nil {
		return err
	}
	d := l.d
	w := d.lock()
	defer d.unlock(w)
	for _, c := range calls {
		d.open++
		if err := d.refusal(c); err != nil || l.gone {
			d.end(w, c, Outcome{Err: errors.Join(err, gone(l))})
			continue
		}
		l.incoming[c.To.(reply).place] = c
		d.enqueue(c)
	}
	return nil // Idle follows and places them
}

func gone(l *Lane) error {
	if l.gone {
		return ErrClosed
	}
	return nil
}

// maxDepth bounds calls within calls: each level costs memory on every side.
const maxDepth = 100_000

func (l *Lane) spec(info *wire.Info) (*Spec, error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if info.Function >= len(l.keys) || info.Depth < 1 || info.Depth > maxDepth {
		return nil, fmt.Errorf("%w: call of function %d of %d at depth %d", wire.ErrMalformed, info.Function, len(l.keys), info.Depth)
	}
	key := l.keys[info.Function]
	s := &Spec{Name: functionName(key), Key: key, Timeout: info.Timeout, Grace: info.Grace, MaxAttempts: info.MaxAttempts,
		Header: info.Header, LogLevel: info.LogLevel, NoLog: info.NoLog, Depth: info.Depth,
		Parent: wire.Place{Chunk: info.ParentChunk, Index: info.ParentIndex}}
	if info.Remaining > 0 {
		s.Deadline = time.Now().Add(info.Remaining)
	}
	if parent := l.call(s.Parent); parent != nil {
		s.Log, s.Progress = parent.Spec.Log, nil
	}
	return s, nil
}

// functionName returns the name in a function's key.
func functionName(key string) string {
	if f := registry.Lookup(key); f != nil {
		return f.Name
	}
	return key
}

// Cancel ends a call of the worker's.
func (l *Lane) Cancel(place wire.Place, cause error) {
	d := l.d
	w := d.lock()
	defer d.unlock(w)
	for at, c := range l.incoming {
		if at == place || at.Chunk == place.Chunk && place.Index == wire.Whole {
			delete(l.incoming, at)
			if d.cancel(w, c, cause) {
				w.after = append(w.after, func() { l.refuse(at, cause) })
			}
		}
	}
}

// refuse answers a call that was canceled.
func (l *Lane) refuse(at wire.Place, cause error) {
	f := peer.EncodeError(cause)
	f.Canceled = true
	l.conn.Result(at, wire.StatusFailed, f.Append(nil))
}

// reply is the sink of a worker's call.
type reply struct {
	lane  *Lane
	place wire.Place
}

// Deliver sends the outcome to the worker.
func (r reply) Deliver(ds []Delivery) {
	l := r.lane
	l.d.mu.Lock()
	delete(l.incoming, r.place)
	gone := l.gone
	l.d.mu.Unlock()
	for i := range ds {
		if out := &ds[i].Outcome; gone {
			continue
		} else if out.Err == nil {
			l.conn.Result(r.place, 0, out.Output)
		} else {
			l.conn.Result(r.place, wire.StatusFailed, relay(out).Append(nil))
		}
	}
}

func relay(out *Outcome) *wire.Fault {
	f := peer.EncodeError(out.Err)
	f.Worker = out.Worker
	switch out.Err.(type) {
	case *peer.Fault:
	case *Lost:
		f.Type = faultLost
	default:
		f.Type = faultOther
	}
	return f
}

// relayed turns a fault into the error that it was before it was relayed.
func relayed(f *peer.Fault) error {
	switch f.Type {
	case faultLost:
		var lost *Lost
		if errors.As(f, &lost) && lost != nil {
			return lost
		}
	case faultOther:
		return &Refusal{f}
	}
	return f
}

// Refusal is a dispatcher's own error about a call, come over a link.
type Refusal struct{ fault *peer.Fault }

// Error returns the message.
func (r *Refusal) Error() string { return r.fault.Message }

// Unwrap returns what the error is.
func (r *Refusal) Unwrap() []error { return r.fault.Causes }

// call finds a call that is or was just on the lane. d.mu is held.
func (l *Lane) call(p wire.Place) *Call {
	ch := l.find(p.Chunk)
	if ch == nil {
		ch = l.held[p.Chunk]
	}
	if ch == nil || p.Index >= len(ch.calls) {
		return nil
	}
	return ch.calls[p.Index]
}

// Note passes a log record or a progress report on to whoever asked for it.
func (l *Lane) Note(n peer.Note) {
	l.d.mu.Lock()
	c := l.call(n.Place)
	worker, log, progress := l.name, l.log, func(string, int64, int64) {}
	if c != nil {
		if c.Spec.Log != nil {
			log = c.Spec.Log
		}
		if c.Spec.Progress != nil {
			progress = c.Spec.Progress
		}
		if n.Record == nil {
			c.done, c.total = n.Done, n.Total
		}
		c = c.label()
	}
	l.d.mu.Unlock()
	switch {
	case n.Record == nil:
		progress(worker, n.Done, n.Total)
	case log != nil:
		log(worker, c, n.Record)
	}
}

// State is a snapshot of a lane.
type State struct {
	Running     string // name of a function that runs, or ""
	Attempt     int
	Done, Total int64 // its progress
	Calls       int   // that run
	Queued      int   // sent ahead
	Ended       int
	Failed      int
	Parked      int
	Killed      string // the function for whose sake we killed the worker, or ""
}

// State returns a snapshot.
func (l *Lane) State() State {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	s := State{Ended: l.done, Failed: l.failed, Parked: l.parked, Killed: l.killed}
	for _, ch := range l.chunks {
		c := l.current(ch)
		if c == nil {
			s.Queued += ch.left
			continue
		}
		s.Queued += ch.left - 1
		s.Calls++
		if s.Running == "" || !ch.parked {
			s.Running, s.Attempt, s.Done, s.Total = c.Spec.Name, c.Attempt(), c.done, c.total
		}
	}
	return s
}
