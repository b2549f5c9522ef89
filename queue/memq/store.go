package memq

import (
	"container/list"
	"math"
	"sync"
	"time"

	"github.com/afar-go/afar/queue"
)

// store is one queue. Whoever has mu has all of it; lock also lets everything happen
// whose time has come, so that nobody sees a lease or a delay that is over.
type store struct {
	began  time.Time
	closed chan struct{} // closed by close, for those who wait

	mu      sync.Mutex
	shut    bool
	used    bool // by somebody who submits, takes or changes something
	paused  bool
	now     time.Duration // since began; set by lock
	last    uint64        // number given by number
	tasks   map[string]*task
	states  [queue.StateCanceled + 1]taskList // of each state, in the order of its beginning
	lines   lines                             // of those that wait
	takers  list.List                         // of *taker; empty unless nothing can be taken
	workers map[string]*worker
	topics  map[string]*topic // of clients; "": that of the queue
	blobs   map[string]*blob
	ever    struct{ done, failed, canceled int64 }

	alarms alarms
	timer  *time.Timer   // runs tick; nil until there is an alarm
	rings  time.Duration // when timer does
}

// never is a time that does not come.
const never = math.MaxInt64

func newStore(began time.Time) *store {
	s := &store{
		began: began, closed: make(chan struct{}), rings: never, tasks: map[string]*task{},
		workers: map[string]*worker{}, topics: map[string]*topic{}, blobs: map[string]*blob{},
	}
	for i := range s.states {
		s.states[i].kind = byState
	}
	return s
}

// isUsed tells whether the queue has come to be.
func (s *store) isUsed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// lock begins something that is done with the store; unlock ends it, whatever lock has
// returned. An error is an ErrClosed.
func (s *store) lock() error {
	s.mu.Lock()
	if s.shut {
		return queue.ErrClosed
	}
	s.now = time.Since(s.began)
	for at, ok := s.alarms.next(); ok && at <= s.now; at, ok = s.alarms.next() {
		s.alarms.pop().ring(s)
	}
	return nil
}

// unlock gives what waits to those who wait for it, and lets others in.
func (s *store) unlock() {
	if !s.shut {
		s.serve()
		s.arm()
	}
	s.mu.Unlock()
}

// close ends everything.
func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	close(s.closed)
	if s.timer != nil {
		s.timer.Stop()
	}
}

// setAlarm lets something happen d from now.
func (s *store) setAlarm(a *alarm, owner ringer, d time.Duration) {
	s.alarms.set(a, owner, s.after(d))
}

// after returns the time d from now.
func (s *store) after(d time.Duration) time.Duration {
	if d > never-s.now {
		return never
	}
	return s.now + d
}

// arm makes the timer ring when the next alarm does. One that rings too early, because
// an alarm was put off, is left as it is: it costs less than to set it all the time.
func (s *store) arm() {
	at, ok := s.alarms.next()
	if !ok || at >= s.rings {
		return
	}
	s.rings = at
	if s.timer == nil {
		s.timer = time.AfterFunc(at-s.now, s.tick)
	} else {
		s.timer.Reset(at - s.now)
	}
}

// tick is run by the timer.
func (s *store) tick() {
	if s.lock() == nil {
		s.rings = never
	}
	s.unlock()
}

// number returns numbers that grow: tokens, and places in topics and lists.
func (s *store) number() uint64 {
	s.last++
	return s.last
}

// wall returns a time as others read it.
func (s *store) wall(at time.Duration) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return s.began.Add(at)
}
