package queuetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/afar-go/afar/queue"
)

// A model is a queue as the contract describes it, without time: leases do not end, and
// nothing is delayed. Its methods say what the broker must answer.
type model struct {
	tasks  map[string]*modelTask      // those that are known
	rank   int                        // of the last task that was submitted
	turns  map[string]map[string]bool // by lane that waits: groups that had a turn meanwhile
	paused bool
	told   []queue.Event // of the client
	stats  queue.Stats   // what was ever done
}

// modelTask is what a model knows of a task.
type modelTask struct {
	queue.Task
	state    queue.State
	back     bool // it waits, and has come back
	rank     int  // if not: its place in the line; those that are requeued together have one
	token    uint64
	attempt  int
	past     int
	outcome  string
	verdict  string
	unwanted bool
	counted  map[modelEnd]bool
}

// modelEnd is a settlement that counted.
type modelEnd struct {
	token  uint64
	ending queue.Ending
}

// modelLease is a lease that was given, perhaps long ago.
type modelLease struct {
	queue.Lease
	task *modelTask
}

func newModel() *model {
	return &model{tasks: map[string]*modelTask{}, turns: map[string]map[string]bool{}}
}

// submit stores a task, and tells whether it was known.
func (m *model) submit(t queue.Task) bool {
	if m.tasks[t.ID] != nil {
		return true
	}
	m.rank++
	m.tasks[t.ID] = &modelTask{Task: t, state: queue.StateWaiting, rank: m.rank, counted: map[modelEnd]bool{}}
	return false
}

// in counts the tasks in a state.
func (m *model) in(state queue.State) int {
	n := 0
	for _, t := range m.tasks {
		if t.state == state {
			n++
		}
	}
	return n
}

// lane names the tasks that have an order among themselves.
func (t *modelTask) lane() string { return fmt.Sprint(t.Priority, " ", t.Group) }

// waits tells whether tasks of this one's lane wait.
func (m *model) waits(lane string) bool {
	for _, t := range m.tasks {
		if t.state == queue.StateWaiting && t.lane() == lane {
			return true
		}
	}
	return false
}

// take checks that a delivery is one that may come next, and notes that it came.
func (m *model) take(d queue.Delivery) error {
	t := m.tasks[d.ID]
	switch {
	case t == nil || t.state != queue.StateWaiting:
		return fmt.Errorf("%s does not wait", d.ID)
	case d.Token <= t.token:
		return fmt.Errorf("%s has token %d after %d", d.ID, d.Token, t.token)
	case d.Attempt != t.attempt+1 || len(d.Past) != t.past:
		return fmt.Errorf("%s is attempt %d after %d others, not %d after %d", d.ID, d.Attempt, len(d.Past), t.attempt+1, t.past)
	case string(d.Body) != string(t.Body):
		return fmt.Errorf("%s has body %q, not %q", d.ID, d.Body, t.Body)
	}
	if err := m.inTurn(t); err != nil {
		return err
	}
	t.state, t.token, t.attempt = queue.StateRunning, d.Token, d.Attempt
	m.turn(t)
	return nil
}

// inTurn checks that it may be a task's turn.
func (m *model) inTurn(t *modelTask) error {
	for _, other := range m.tasks {
		if other.state != queue.StateWaiting || other == t {
			continue
		}
		if other.Priority > t.Priority {
			return fmt.Errorf("%s with priority %d comes before %s with %d", t.ID, t.Priority, other.ID, other.Priority)
		}
		if other.lane() == t.lane() && !t.back && (other.back || other.rank < t.rank) {
			return fmt.Errorf("%s comes before %s (which has come back: %v)", t.ID, other.ID, other.back)
		}
		if other.Priority == t.Priority && m.turns[other.lane()][t.Group] {
			return fmt.Errorf("group %q has two turns before group %q has one", t.Group, other.Group)
		}
	}
	return nil
}

// turn notes that a group had its turn: for the others of its priority that wait, until
// they have theirs.
func (m *model) turn(t *modelTask) {
	delete(m.turns, t.lane())
	for _, other := range m.tasks {
		if other.state == queue.StateWaiting && other.Priority == t.Priority && other.Group != t.Group {
			if m.turns[other.lane()] == nil {
				m.turns[other.lane()] = map[string]bool{}
			}
			m.turns[other.lane()][t.Group] = true
		}
	}
}

// renew answers a beat.
func (m *model) renew(l modelLease) queue.Hold {
	switch {
	case !m.holds(l):
		return queue.Lost
	case l.task.unwanted:
		return queue.Unwanted
	}
	return queue.Held
}

// holds tells whether a lease has not ended.
func (m *model) holds(l modelLease) bool {
	return m.tasks[l.ID] == l.task && l.task.state == queue.StateRunning && l.task.token == l.Token
}

// settle answers a settlement.
func (m *model) settle(l modelLease, e queue.Settlement) queue.Hold {
	t := l.task
	if m.tasks[l.ID] != t {
		return queue.Lost
	}
	end := modelEnd{e.Token, e.Ending}
	if t.counted[end] {
		return queue.Held
	}
	returns := e.Ending == queue.EndRetry || e.Ending == queue.EndRelease
	if t.state.Ended() || returns && !m.holds(l) {
		return queue.Lost
	}
	t.counted[end] = true
	switch e.Ending {
	case queue.EndRetry:
		t.past++
		m.giveBack(t)
	case queue.EndRelease:
		t.attempt--
		m.giveBack(t)
	case queue.EndDead:
		t.past++
		m.end(t, queue.StateDead, string(e.Outcome), e.Worker)
	default:
		m.end(t, queue.StateDone+queue.State(e.Ending-queue.EndDone), string(e.Outcome), e.Worker)
	}
	return queue.Held
}

// giveBack lets a task wait again.
func (m *model) giveBack(t *modelTask) {
	if t.unwanted {
		m.end(t, queue.StateCanceled, t.verdict, "")
		return
	}
	t.state, t.back = queue.StateWaiting, true
}

// end gives a task its outcome.
func (m *model) end(t *modelTask, state queue.State, outcome, worker string) {
	t.state, t.outcome, t.back, t.unwanted = state, outcome, false, false
	m.stopsWaiting(t)
	switch state {
	case queue.StateDone:
		m.stats.Done++
	case queue.StateFailed:
		m.stats.Failed++
	case queue.StateCanceled:
		m.stats.Canceled++
	}
	if t.Client != "" {
		m.told = append(m.told, queue.Event{
			Kind: queue.EventEnd, ID: t.ID, State: state, Data: []byte(outcome), Attempt: t.attempt, Worker: worker,
		})
	}
	if t.Retention == 0 && state != queue.StateDead {
		delete(m.tasks, t.ID)
	}
}

// stopsWaiting forgets whose turn it was when no task of a lane waits any more.
func (m *model) stopsWaiting(t *modelTask) {
	if !m.waits(t.lane()) {
		delete(m.turns, t.lane())
	}
}

// change answers what an operator asks for.
func (m *model) change(c queue.Change) int {
	n := 0
	switch c.Verb {
	case queue.Pause, queue.Resume:
		m.paused = c.Verb == queue.Pause
		return 0
	case queue.Purge:
		for _, t := range sorted(m.tasks) {
			if t.state == queue.StateWaiting {
				m.end(t, queue.StateCanceled, string(c.Outcome), "")
				n++
			}
		}
		return n
	}
	m.rank++
	for _, id := range m.concerned(c) {
		if t := m.tasks[id]; t != nil && m.changeOne(t, c) {
			n++
		}
	}
	return n
}

// concerned returns the IDs of a change, or those of all dead tasks.
func (m *model) concerned(c queue.Change) []string {
	if len(c.IDs) > 0 || c.Verb == queue.Cancel {
		return c.IDs
	}
	var all []string
	for _, t := range sorted(m.tasks) {
		if t.state == queue.StateDead {
			all = append(all, t.ID)
		}
	}
	return all
}

// changeOne tells whether a change concerns a task.
func (m *model) changeOne(t *modelTask, c queue.Change) bool {
	switch {
	case c.Verb == queue.Cancel && t.state == queue.StateWaiting:
		m.end(t, queue.StateCanceled, string(c.Outcome), "")
	case c.Verb == queue.Cancel && t.state == queue.StateRunning:
		if !t.unwanted {
			t.unwanted, t.verdict = true, string(c.Outcome)
		}
	case c.Verb == queue.Requeue && t.state == queue.StateDead:
		t.state, t.rank, t.attempt, t.past, t.outcome = queue.StateWaiting, m.rank, 0, 0, ""
	case c.Verb == queue.Drop && t.state.Ended():
		delete(m.tasks, t.ID)
	default:
		return false
	}
	return true
}

// sorted returns the tasks by ID.
func sorted(tasks map[string]*modelTask) []*modelTask {
	var all []*modelTask
	for _, t := range tasks {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *modelTask) int { return strings.Compare(a.ID, b.ID) })
	return all
}
