package memq

import (
	"slices"
	"strings"
	"time"

	"github.com/afar-go/afar/queue"
)

// listenTime is for how long a worker counts as listening after its last sign of life.
const listenTime = 15 * time.Second

// worker is one who took, or said that it is alive.
type worker struct {
	name      string
	listens   bool
	running   int64 // leases that it has
	waiting   int   // its Takes that wait
	notListen alarm // when it has said nothing for too long
}

// heard notes a sign of life.
func (s *store) heard(name string) *worker {
	w := s.workers[name]
	if w == nil {
		w = &worker{name: name}
		s.workers[name] = w
	}
	w.listens = true
	s.setAlarm(&w.notListen, w, listenTime)
	return w
}

// ring ends that a worker listens which was not heard of, unless it waits.
func (w *worker) ring(s *store) {
	if w.waiting > 0 {
		s.setAlarm(&w.notListen, w, listenTime)
		return
	}
	s.leave(w)
}

// stopsWaiting notes that a Take of a worker does not wait any more.
func (s *store) stopsWaiting(w *worker) {
	w.waiting--
	if w.listens { // it may have left meanwhile
		s.setAlarm(&w.notListen, w, listenTime)
	}
	s.drop(w)
}

// leave ends that a worker listens.
func (s *store) leave(w *worker) {
	w.listens = false
	s.alarms.unset(&w.notListen)
	s.drop(w)
}

// drop forgets a worker of which there is nothing to know.
func (s *store) drop(w *worker) {
	if !w.listens && w.running == 0 && w.waiting == 0 {
		delete(s.workers, w.name)
	}
}

// listening returns those who listen.
func (s *store) listening() []queue.WorkerStats {
	var all []queue.WorkerStats
	for _, w := range s.workers {
		if w.listens {
			all = append(all, queue.WorkerStats{Name: w.name, Running: w.running})
		}
	}
	slices.SortFunc(all, func(a, b queue.WorkerStats) int { return strings.Compare(a.Name, b.Name) })
	return all
}
