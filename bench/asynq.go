package main

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

const (
	// asynqEager is how often an asynq worker looks that has nothing to do, instead of once a second.
	asynqEager = 10 * time.Millisecond
	// asynqTogether is how many goroutines submit, as many look for results, and how many tasks run at a time: asynq
	// has a request for each task, so only what is asked for at the same time shares the wire.
	asynqTogether = 64
	asynqWindow   = 1024
	asynqPoll     = time.Millisecond // between two looks at a task
	asynqEcho     = "echo"
	asynqBegun    = "begun"
)

func asynqRedis(socket string) asynq.RedisClientOpt {
	return asynq.RedisClientOpt{Network: "unix", Addr: socket, PoolSize: 2 * asynqTogether}
}

// asynqCrew submits in this process, and reads each result as soon as the worker, in another, has written it.
func asynqCrew(aof bool, every time.Duration) muster {
	return func(ctx context.Context, s *session) (*crew, error) {
		r, err := s.redis(ctx, aof)
		if err != nil {
			return nil, err
		}
		name := rand.Text() // another worker may look elsewhere
		worker, err := openWorker(ctx, "queue-asynq", workPlace{Address: r.socket, Queue: name, Every: every})
		if err != nil {
			return nil, err
		}
		a := &asynqCaller{queue: name, client: asynq.NewClient(asynqRedis(r.socket)), inspector: asynq.NewInspector(asynqRedis(r.socket))}
		return &crew{
			redis: r, worker: worker.process.Process.Pid,
			pass: func(ctx context.Context, n int) error { return a.pass(ctx, n, time.Minute) },
			keep: func(ctx context.Context, n int) error {
				// A client says only once which queues there are, and Redis may have been emptied since.
				fresh := &asynqCaller{queue: name, client: asynq.NewClient(asynqRedis(r.socket)), inspector: a.inspector}
				return errors.Join(fresh.pass(ctx, n, time.Hour), fresh.client.Close())
			},
			begun: func(ctx context.Context) (time.Time, error) {
				ctx, cancel := within(ctx)
				defer cancel()
				info, err := a.client.EnqueueContext(ctx, asynq.NewTask(asynqBegun, nil), asynq.Queue(name), asynq.Retention(time.Minute))
				if err != nil {
					return time.Time{}, err
				}
				result, err := a.await(ctx, info.ID)
				if err != nil {
					return time.Time{}, err
				}
				nanos, err := strconv.ParseInt(string(result), 10, 64)
				return time.Unix(0, nanos), err
			},
			close: func() error { return errors.Join(worker.stop(), a.client.Close(), a.inspector.Close()) },
		}, nil
	}
}

type asynqCaller struct {
	queue     string
	client    *asynq.Client
	inspector *asynq.Inspector
}

// An asynqSent is a task that was submitted.
type asynqSent struct{ id, text string }

// pass submits in goroutines, and waits in others.
func (a *asynqCaller) pass(ctx context.Context, n int, retention time.Duration) error {
	ctx, cancel := within(ctx)
	defer cancel()
	all := texts(n)
	sent := make(chan asynqSent, asynqWindow)
	errs := make([]error, 2*asynqTogether)
	var submitting, waiting sync.WaitGroup
	for g := range asynqTogether {
		submitting.Go(func() {
			if errs[g] = a.submit(ctx, all, g, retention, sent); errs[g] != nil {
				cancel()
			}
		})
		waiting.Go(func() {
			for t := range sent {
				got, err := a.await(ctx, t.id)
				if err == nil && string(got) != t.text {
					err = errWrongReply
				}
				if err != nil && errs[asynqTogether+g] == nil {
					errs[asynqTogether+g] = err
					cancel()
				}
			}
		})
	}
	submitting.Wait()
	close(sent)
	waiting.Wait()
	return errors.Join(errs...)
}

// submit submits every asynqTogether-th task.
func (a *asynqCaller) submit(ctx context.Context, all []string, from int, retention time.Duration, sent chan<- asynqSent) error {
	for i := from; i < len(all); i += asynqTogether {
		task := asynq.NewTask(asynqEcho, []byte(all[i]), asynq.Queue(a.queue), asynq.Retention(retention))
		info, err := a.client.EnqueueContext(ctx, task)
		if err != nil {
			return err
		}
		sent <- asynqSent{info.ID, all[i]}
	}
	return nil
}

// await looks until a task has ended: asynq tells nobody.
func (a *asynqCaller) await(ctx context.Context, id string) ([]byte, error) {
	for {
		info, err := a.inspector.GetTaskInfo(a.queue, id)
		if err != nil {
			return nil, err
		}
		if info.State == asynq.TaskStateCompleted {
			return info.Result, nil
		}
		select {
		case <-time.After(asynqPoll):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func workAsynq(ctx context.Context, o workPlace) error {
	mux := asynq.NewServeMux()
	mux.HandleFunc(asynqEcho, func(_ context.Context, t *asynq.Task) error {
		_, err := t.ResultWriter().Write(t.Payload())
		return err
	})
	mux.HandleFunc(asynqBegun, func(_ context.Context, t *asynq.Task) error {
		_, err := t.ResultWriter().Write(strconv.AppendInt(nil, time.Now().UnixNano(), 10))
		return err
	})
	server := asynq.NewServer(asynqRedis(o.Address), asynq.Config{
		Queues: map[string]int{o.Queue: 1}, Concurrency: asynqTogether, TaskCheckInterval: o.Every, LogLevel: asynq.FatalLevel, ShutdownTimeout: time.Second,
	})
	if err := server.Start(mux); err != nil {
		return err
	}
	<-ctx.Done()
	server.Shutdown()
	return nil
}
