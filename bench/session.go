package main

import (
	"errors"
	"os"
	"sync"
	"time"
)

// A session is one run of this program: how much to measure, and what rows share.
type session struct {
	smoke  bool
	rounds int           // measured rounds of each row
	span   time.Duration // how long one contender calls in one round

	mapItems  int // inputs of a map in one round
	slowItems int // the same for contenders that are slower by an order of magnitude
	heapItems int // inputs of the map whose caller's heap is watched
	tasks     int // busy tasks in one round
	starts    int // processes started in one round

	queueTasks int // tasks through a queue in one round
	flatTasks  int // the same while memory is watched

	began time.Time
	dir   string // for what is built in this run; removed by close

	trivialOnce sync.Once
	trivialErr  error

	distantOnce sync.Once
	distantErr  error

	far distant // the host of the rows with ssh

	plainRedis, aofRedis redisServer // of the rows with queues
}

// newSession makes the temporary directory; the caller must close the session.
func newSession(o options) (*session, error) {
	s := &session{
		rounds: 7, span: 400 * time.Millisecond,
		mapItems: 1_000_000, slowItems: 50_000, heapItems: 10_000_000,
		tasks: 200, starts: 10,
		queueTasks: 50_000, flatTasks: 1_000_000,
		began: time.Now(),
	}
	if o.smoke {
		s.smoke, s.rounds, s.span = true, 1, 5*time.Millisecond
		s.mapItems, s.slowItems, s.heapItems = 20_000, 500, 100_000
		s.tasks, s.starts = 8, 2
		s.queueTasks, s.flatTasks = 1000, 4000
	}
	if o.rounds > 0 {
		s.rounds = o.rounds
	}
	dir, err := os.MkdirTemp("", "afar-bench-")
	if err != nil {
		return nil, err
	}
	s.dir = dir
	return s, nil
}

// close removes what the session built, and ends its host and its servers. Every contender must be closed before.
func (s *session) close() error {
	return errors.Join(s.end(), os.RemoveAll(s.dir))
}

// end ends the session's host and servers. It is idempotent.
func (s *session) end() error {
	return errors.Join(s.far.close(), s.plainRedis.close(), s.aofRedis.close())
}
