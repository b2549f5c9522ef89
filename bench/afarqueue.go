package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/natsq"
	"github.com/afar-go/afar/queue/redisq"
)

// queueName is that of afar's queue at every broker.
const queueName = "bench"

// beginning is a task that says when it began.
var beginning = afar.Func(beginningFunc)

func beginningFunc(context.Context, int) (int64, error) { return time.Now().UnixNano(), nil }

// A closingBroker is one that is closed.
type closingBroker interface {
	queue.Broker
	Close() error
}

// afarCrew submits in this process. worker may be nil: then this process works too.
func afarCrew(b closingBroker, worker *link) *crew {
	q := queue.New(b, queueName)
	c := &crew{
		pass: func(ctx context.Context, n int) error {
			ctx, cancel := within(ctx)
			defer cancel()
			return checkTexts(texts(n), echoText.Map(ctx, q, slices.Values(texts(n))))
		},
		begun: func(ctx context.Context) (time.Time, error) {
			ctx, cancel := within(ctx)
			defer cancel()
			nanos, err := beginning.On(q)(ctx, 0)
			return time.Unix(0, nanos), err
		},
		keep: func(ctx context.Context, n int) error { return keepResults(ctx, q, n) },
	}
	if worker != nil {
		c.worker = worker.process.Process.Pid
		c.close = func() error { return errors.Join(worker.stop(), b.Close()) }
		return c
	}
	ctx, cancel := context.WithCancel(context.Background())
	worked := make(chan error, 1)
	go func() { worked <- q.Work(ctx, queue.WorkConfig{}) }()
	c.close = func() error {
		cancel()
		return errors.Join(<-worked, b.Close())
	}
	return c
}

// checkTexts checks that results are what was sent.
func checkTexts(sent []string, results func(yield func(string, error) bool)) error {
	n := 0
	for got, err := range results {
		if err != nil {
			return err
		}
		if n >= len(sent) || got != sent[n] {
			return errWrongReply
		}
		n++
	}
	if n != len(sent) {
		return fmt.Errorf("%d results of %d", n, len(sent))
	}
	return nil
}

// keepResults submits tasks whose results stay for as long as they do unless somebody says otherwise, and waits
// for them.
func keepResults(ctx context.Context, q *queue.Queue, n int) error {
	ctx, cancel := within(ctx)
	defer cancel()
	const together = 64
	errs := make(chan error, together)
	for g := range together {
		go func() {
			var err error
			for i := g; i < n && err == nil; i += together {
				err = keepOne(ctx, q, text(i))
			}
			errs <- err
		}()
	}
	var all []error
	for range together {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func keepOne(ctx context.Context, q *queue.Queue, sent string) error {
	r, err := queue.Submit(ctx, q, echoText, sent)
	if err != nil {
		return err
	}
	got, err := r.Wait(ctx)
	if err == nil && got != sent {
		err = errWrongReply
	}
	return err
}

// redisqCrew has a worker in another process.
func redisqCrew(aof bool) muster {
	return func(ctx context.Context, s *session) (*crew, error) {
		r, err := s.redis(ctx, aof)
		if err != nil {
			return nil, err
		}
		address := "unix://" + r.socket
		b, err := redisq.Open(ctx, address)
		if err != nil {
			return nil, err
		}
		worker, err := openWorker(ctx, "queue-redisq", workPlace{Address: address})
		if err != nil {
			return nil, errors.Join(err, b.Close())
		}
		c := afarCrew(b, worker)
		c.redis = r
		return c, nil
	}
}

// natsqCrew has everything in this process.
func natsqCrew(always bool) muster {
	return func(ctx context.Context, s *session) (*crew, error) {
		b, err := embed(ctx, s, natsq.Config{SyncAlways: always})
		if err != nil {
			return nil, err
		}
		return afarCrew(b, nil), nil
	}
}

// joinedCrew has the server in this process, and a worker in another.
func joinedCrew(ctx context.Context, s *session) (*crew, error) {
	b, err := embed(ctx, s, natsq.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		return nil, err
	}
	worker, err := openWorker(ctx, "queue-natsq", workPlace{Address: b.URL()})
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return afarCrew(b, worker), nil
}

func embed(ctx context.Context, s *session, c natsq.Config) (*natsq.Broker, error) {
	dir, err := os.MkdirTemp(s.dir, "natsq-")
	if err != nil {
		return nil, err
	}
	c.Dir = dir
	return c.Embedded(ctx)
}

func workRedisq(ctx context.Context, o workPlace) error {
	b, err := redisq.Open(ctx, o.Address)
	if err != nil {
		return err
	}
	return work(ctx, b)
}

func workNatsq(ctx context.Context, o workPlace) error {
	b, err := natsq.Open(ctx, o.Address)
	if err != nil {
		return err
	}
	return work(ctx, b)
}

// work works for a queue as one does who has configured nothing.
func work(ctx context.Context, b closingBroker) error {
	err := queue.New(b, queueName).Work(ctx, queue.WorkConfig{Log: slog.New(slog.DiscardHandler)})
	return errors.Join(err, b.Close())
}
