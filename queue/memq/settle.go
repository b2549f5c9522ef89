package memq

import (
	"bytes"
	"slices"

	"github.com/afar-go/afar/queue"
)

// renew makes leases last.
func (s *store) renew(worker string, beats []queue.Beat) ([]queue.Hold, error) {
	defer s.unlock()
	if err := s.lock(); err != nil {
		return nil, err
	}
	s.heard(worker)
	holds := make([]queue.Hold, len(beats))
	for i := range beats {
		holds[i] = s.beat(&beats[i])
	}
	return holds, nil
}

func (s *store) beat(b *queue.Beat) queue.Hold {
	t := s.tasks[b.ID]
	if t == nil || !t.heldBy(b.Lease) {
		return queue.Lost
	}
	s.setAlarm(&t.alarm, t, b.For)
	s.logs(t, b.Log)
	if b.Progress != [2]int64{} {
		t.more().progress = b.Progress
	}
	if t.seldom().unwanted {
		return queue.Unwanted
	}
	return queue.Held
}

// heldBy tells whether a lease of this task has not ended.
func (t *task) heldBy(l queue.Lease) bool {
	return t.state == queue.StateRunning && t.token == l.Token
}

// settle ends deliveries.
func (s *store) settle(ends []queue.Settlement) ([]queue.Hold, error) {
	defer s.unlock()
	if err := s.lock(); err != nil {
		return nil, err
	}
	holds := make([]queue.Hold, len(ends))
	for i := range ends {
		holds[i] = queue.Lost
		if s.settled(&ends[i]) {
			holds[i] = queue.Held
		}
	}
	return holds, nil
}

// settled ends a delivery, and tells whether that counts, or has counted before.
func (s *store) settled(e *queue.Settlement) bool {
	t := s.tasks[e.ID]
	if t == nil || e.Token <= t.born || e.Token > t.token {
		return false // of another task that had this ID, if of any
	}
	if t.hasCounted(countedEnd{e.Token, e.Ending}) {
		return true
	}
	returns := e.Ending == queue.EndRetry || e.Ending == queue.EndRelease
	if t.state.Ended() || returns && !t.heldBy(e.Lease) {
		return false
	}
	t.counts(countedEnd{e.Token, e.Ending})
	s.logs(t, e.Log)
	if returns {
		s.returned(t, e)
	} else {
		s.ends(t, e)
	}
	return true
}

// returned ends the delivery of a task that is to be taken again.
func (s *store) returned(t *task, e *queue.Settlement) {
	t.lastWork = e.Worker
	if e.Ending == queue.EndRelease {
		t.attempt--
	} else {
		t.remember(queue.Attempt{Worker: e.Worker, Ended: s.wall(s.now), Error: bytes.Clone(e.Error)})
	}
	s.giveBack(t, e.Delay)
}

// ends gives a task the outcome of a settlement.
func (s *store) ends(t *task, e *queue.Settlement) {
	if e.Ending == queue.EndDead {
		t.remember(queue.Attempt{Worker: e.Worker, Ended: s.wall(s.now), Error: bytes.Clone(e.Error)})
		t.rare.outBlobs = slices.Clone(e.Blobs)
		s.hold(t.rare.outBlobs)
	} else {
		s.keepFor(e.Blobs, t.Retention)
	}
	s.end(t, outcomeOf(e.Ending), bytes.Clone(e.Outcome), e.Worker)
}

// outcomeOf is the state to which an ending leads.
func outcomeOf(e queue.Ending) queue.State {
	switch e {
	case queue.EndFailed:
		return queue.StateFailed
	case queue.EndDead:
		return queue.StateDead
	case queue.EndCanceled:
		return queue.StateCanceled
	}
	return queue.StateDone
}
