package queue_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/queue"
)

// The ID of a task makes submitting it harmless, however often; a batch uses that to go on
// where it was.
func TestIdempotent(t *testing.T) {
	q, work := open(t)
	first := submit(t, q, fail, 0, queue.ID("once"))
	again := submit(t, q, fail, 0, queue.ID("once"))
	failures.Store(0)
	work(queue.WorkConfig{})
	for _, r := range []*queue.Result[int64]{first, again, submit(t, q, fail, 0, queue.ID("once"))} {
		if out, err := r.Wait(within(t)); out != 1 || err != nil {
			t.Errorf("%d, %v", out, err)
		}
	}
	inputs := slices.Values([]int{0, -1, -2, -3, -4, -5, -6, -7, -8, -9})
	failures.Store(0)
	for out, err := range fail.Map(within(t), q.Batch("b"), inputs) {
		if err != nil {
			t.Fatal(err)
		}
		if out == 5 {
			break
		}
	}
	seen := map[int64]bool{}
	for out, err := range fail.Map(within(t), q.Batch("b"), inputs) {
		if err != nil || seen[out] {
			t.Errorf("%d again: %v, %v", out, seen[out], err)
		}
		seen[out] = true
	}
	if failures.Load() != 10 {
		t.Errorf("%d tasks ran for 10 inputs", failures.Load())
	}
}

// What has failed in a batch is done again.
func TestBatchTriesAgain(t *testing.T) {
	q, work := open(t)
	work(queue.WorkConfig{})
	failures.Store(0)
	b := q.Batch("b")
	if _, err := fail.On(b)(within(t), 1); !errors.Is(err, errOdd) {
		t.Errorf("%v", err)
	}
	for range 2 {
		if out, err := fail.On(b)(within(t), 1); out != 2 || err != nil {
			t.Errorf("again: %d, %v", out, err)
		}
	}
}

// A call over a queue is heard of as one over a pool, and leaves nothing behind.
func TestCallIsHeard(t *testing.T) {
	q, work := open(t)
	ready := make(chan struct{})
	work(queue.WorkConfig{Name: "w", Ready: func() { close(ready) }})
	<-ready
	var records []slog.Record
	var done, total int64
	ctx := afar.WithLog(within(t), handler(func(r slog.Record) { records = append(records, r) }))
	ctx = afar.WithProgress(ctx, func(worker string, d, n int64) { done, total = d, n })
	if n, err := chatter.On(q.With(queue.High, queue.RequireWorker()))(ctx, 5); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if len(records) != 5 || records[4].Message != "line" || done != 5 || total != 5 {
		t.Errorf("%d records, progress %d of %d", len(records), done, total)
	}
	if _, err := refuse.On(q)(within(t), 0); !errors.Is(err, queue.ErrDead) {
		t.Errorf("%v", err)
	}
	if s, err := q.Stats(within(t)); err != nil || s.Dead != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	r := submit(t, q, refuse, 0, queue.Label("the poison"))
	_, _ = r.Wait(within(t))
	if s, err := r.Status(within(t)); err != nil || s.Label != "the poison" || !strings.HasSuffix(s.Function, "refuseFunc") {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := double.On(q.With(queue.ID("x")))(within(t), 1); err == nil || !strings.Contains(err.Error(), "one ID") {
		t.Errorf("%v", err)
	}
}

// handler is a slog.Handler.
type handler func(slog.Record)

func (handler) Enabled(context.Context, slog.Level) bool        { return true }
func (h handler) Handle(_ context.Context, r slog.Record) error { h(r); return nil }
func (h handler) WithAttrs([]slog.Attr) slog.Handler            { return h }
func (h handler) WithGroup(string) slog.Handler                 { return h }

// A periodic task knows its time, and its outcome can be looked up by that.
func TestPeriodic(t *testing.T) {
	q, work := open(t)
	work(queue.WorkConfig{})
	p := queue.Every(queue.Cron{Name: "tick", Expression: "* * * * * *"}, due, 0)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- q.Schedule(ctx, p) }()
	}
	at := <-dues
	if next := <-dues; !next.After(at) {
		t.Errorf("%v after %v", next, at)
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if out, err := queue.Lookup[int](q, p.ID(at)).Wait(within(t)); out != 1 || err != nil {
		t.Errorf("%d, %v", out, err)
	}
	for _, bad := range []*queue.Periodic{
		queue.Every(queue.Cron{Name: "x", Expression: "61 * * * *"}, due, 0),
		queue.Every(queue.Cron{Name: "x", Expression: "0 0 31 2 *"}, due, 0),
		queue.Every(queue.Cron{Expression: "@daily"}, due, 0),
		queue.Every(queue.Cron{Name: "x", Expression: "@daily"}, due, 0, queue.Delay(1)),
	} {
		if err := q.Schedule(within(t), bad); err == nil {
			t.Error("no error")
		}
	}
}

var (
	due  = afar.Func(dueFunc)
	dues = make(chan time.Time, 100)
)

func dueFunc(ctx context.Context, _ int) (int, error) {
	r, _ := queue.Current(ctx)
	dues <- r.Due
	return r.Attempt, nil
}
