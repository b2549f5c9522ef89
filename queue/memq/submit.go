package memq

import (
	"github.com/afar-go/afar/queue"
)

// submit stores those tasks that are not known.
func (s *store) submit(tasks []queue.Task) ([]bool, error) {
	copies := make([]*task, len(tasks)) // made before others have to wait for it
	for i := range tasks {
		copies[i] = &task{Task: copyTask(&tasks[i])}
	}
	defer s.unlock()
	if err := s.lock(); err != nil {
		return nil, err
	}
	s.used = true
	known := make([]bool, len(tasks))
	for i, t := range copies {
		if s.tasks[t.ID] != nil {
			known[i] = true
			continue
		}
		s.admit(t)
	}
	return known, nil
}

// admit stores a task.
func (s *store) admit(t *task) {
	t.born = s.number()
	t.submitted = s.now
	s.tasks[t.ID] = t
	s.hold(t.Blobs)
	s.wait(t, t.Delay, false)
}
