package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Contenders of the rows with queues.
const (
	nameNatsq      = "afar, natsq"
	nameNatsJoined = "afar, the worker in another process"
	nameAsynq      = "asynq"
	nameAsynqEager = "asynq, TaskCheckInterval 10 ms"
	nameRQ         = "Python RQ, SimpleWorker"
	nameCelery     = "Python Celery, solo pool"
	nameOnePublish = "JetStream, a publish at a time"
)

// A crew is a queue and its worker, ready for tasks.
type crew struct {
	// pass has n tasks of messageSize echoed, and checks what came back.
	pass func(ctx context.Context, n int) error
	// begun has one task done, which says when it began.
	begun func(ctx context.Context) (time.Time, error)
	// keep has n tasks done whose results stay.
	keep func(ctx context.Context, n int) error

	redis  *redisServer // the broker, unless it is in this process
	worker int          // the worker's process; 0: this one
	close  func() error
}

// A muster makes a crew.
type muster func(ctx context.Context, s *session) (*crew, error)

// queueRedis is what goes through one Redis, submitted in this process and done in another.
func queueRedis(aof bool) experiment {
	name, title := "queue-redis", "tasks of 64 B end to end, submitter and worker in two processes, one Redis"
	if aof {
		name, title = "queue-redis-aof", "the same, AOF everysec"
	}
	e := experiment{
		figures: []figure{{name: name, title: title, unit: "tasks/s", targets: []target{{over: nameAsynq, bound: 10}}}},
		contenders: []contender{
			{nameAfar, taskRate(redisqCrew(aof), queueItems)},
			{nameRaw, taskRate(rawCrew(aof), queueItems)},
			{nameAsynq, taskRate(asynqCrew(aof, asynqEager), queueSlowItems)},
		},
	}
	if !aof {
		e.contenders = append(e.contenders,
			contender{nameRQ, taskRate(pythonCrew("rq"), queueSlowestItems)},
			contender{nameCelery, taskRate(pythonCrew("celery"), queueSlowestItems)})
	}
	return e
}

// queueNats is what goes through JetStream in this process.
func queueNats() experiment {
	return experiment{
		figures: []figure{{
			name: "queue-nats", title: "tasks of 64 B end to end, embedded JetStream, all in one process", unit: "tasks/s",
			targets: []target{{bound: 60e3}},
		}},
		contenders: []contender{
			{nameAfar, taskRate(natsqCrew(false), queueItems)},
			{nameNatsJoined, taskRate(joinedCrew, queueItems)},
			{nameRaw, taskRate(jetStreamCrew(false), queueItems)},
		},
	}
}

// queueNatsAlways is the same when everything is on the disk before anything returns.
func queueNatsAlways() experiment {
	return experiment{
		figures: []figure{{
			name: "queue-nats-always", title: "the same, the disk synced before anything returns", unit: "tasks/s",
			targets: []target{{over: nameOnePublish, bound: 5}},
		}},
		contenders: []contender{
			{nameAfar, taskRate(natsqCrew(true), queueSlowItems)},
			{nameRaw, taskRate(jetStreamCrew(true), queueSlowItems)},
			{nameOnePublish, publishRate},
		},
	}
}

// queueIdle is how long a task waits that finds its worker idle.
func queueIdle() experiment {
	const p50, p99 = 1, 5 // ms
	figures := []figure{
		{name: "queue-idle", title: "from Submit to the task's beginning in an idle worker of another process, p50", unit: "ms", less: true},
		{name: "queue-idle-p99", title: "the same, p99", unit: "ms", less: true},
	}
	for i, bound := range []float64{p50, p99} {
		figures[i].targets = []target{{bound: bound, atMost: true}, {of: nameNatsq, bound: bound, atMost: true}}
	}
	return experiment{
		figures: figures,
		contenders: []contender{
			{nameAfar, pickUps(redisqCrew(false), 200)},
			{nameNatsq, pickUps(joinedCrew, 200)},
			{nameRaw, pickUps(rawCrew(false), 200)},
			{nameAsynq, pickUps(asynqCrew(false, 0), 5)},
			{nameAsynqEager, pickUps(asynqCrew(false, asynqEager), 50)},
		},
	}
}

// How many tasks a round has.
func queueItems(s *session) int        { return s.queueTasks }
func queueSlowItems(s *session) int    { return s.queueTasks / 10 }
func queueSlowestItems(s *session) int { return max(1, s.queueTasks/100) }

// taskRate measures tasks per second.
func taskRate(open muster, count func(*session) int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		c, err := open(ctx, s)
		if err != nil {
			return nil, err
		}
		n := count(s)
		return &trial{
			measure: func(ctx context.Context) ([]float64, error) {
				begin := time.Now()
				err := c.pass(ctx, n)
				return one(float64(n)/time.Since(begin).Seconds(), err)
			},
			close: c.close,
		}, nil
	}
}

// idlePause is how long a worker has nothing to do before the next task.
const idlePause = 10 * time.Millisecond

// pickUps measures at most count times how long an idle worker takes to begin, by the clock of the machine.
func pickUps(open muster, count int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		c, err := open(ctx, s)
		if err != nil {
			return nil, err
		}
		n := count
		if s.smoke {
			n = 2
		}
		return &trial{
			measure: func(ctx context.Context) ([]float64, error) {
				took := make([]float64, 0, n)
				for range n {
					// Not all at the same phase of somebody's timer.
					time.Sleep(idlePause + time.Duration(len(took)*7919%10_000)*time.Microsecond)
					submitted := time.Now()
					begun, err := c.begun(ctx)
					if err != nil {
						return nil, err
					}
					took = append(took, begun.Sub(submitted.Round(0)).Seconds()*1e3)
				}
				slices.Sort(took)
				return []float64{took[(len(took)-1)/2], took[(len(took)*99-1)/100]}, nil
			},
			close: c.close,
		}, nil
	}
}

// texts gives n different strings of messageSize.
func texts(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = text(i)
	}
	return all
}

// errLate says that a queue did not do its work.
var errLate = errors.New("results did not come")

// within ends a wait for a queue that does nothing, so that a failure says so.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("for a minute %w", errLate))
}
