package redisq

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// Inspect implements queue.Broker.
func (b *Broker) Inspect(ctx context.Context, queueName string, q queue.Query) (*queue.Report, error) {
	report, err := b.inspect(ctx, queueName, q)
	return report, wrap(queueName, err)
}

func (b *Broker) inspect(ctx context.Context, queueName string, q queue.Query) (*queue.Report, error) {
	if err := check.Query(q); err != nil {
		return nil, err
	}
	if !q.Queues || len(q.IDs) > 0 || q.State != queue.StateUnknown || q.Stats {
		if err := check.Queue(queueName); err != nil {
			return nil, err
		}
	}
	c, err := b.begin(ctx, queueName)
	if err != nil {
		return nil, err
	}
	defer c.end()
	report := &queue.Report{}
	switch {
	case len(q.IDs) > 0:
		report.Tasks, err = c.tasks(q.IDs)
	case q.State != queue.StateUnknown:
		report.Tasks, report.Next, err = c.page(q)
	}
	if err == nil && q.Stats {
		report.Stats, err = c.stats()
	}
	if err == nil && q.Queues {
		report.Queues, err = c.queues()
	}
	if err != nil {
		return nil, err
	}
	return report, nil
}

// tasks reports the tasks with these IDs. The server gives some at a time.
func (c *call) tasks(ids []string) ([]queue.TaskState, error) {
	tasks := make([]queue.TaskState, 0, len(ids))
	for len(tasks) < len(ids) {
		some := ids[len(tasks):min(len(ids), len(tasks)+maxBatch)]
		args := append(arguments(1+len(some)), "ids")
		answer, err := c.run(inspectScript, append(args, some...))
		if err != nil {
			return nil, err
		}
		more, _, err := parsePage(answer)
		if err != nil {
			return nil, err
		}
		if len(more) == 0 || len(more) > len(some) {
			return nil, errDamaged
		}
		tasks = append(tasks, more...)
	}
	return tasks, nil
}

// page reports tasks in a state.
func (c *call) page(q queue.Query) ([]queue.TaskState, string, error) {
	if q.After != "" {
		if _, err := strconv.ParseUint(q.After, 10, 64); err != nil {
			return nil, "", fmt.Errorf("a page is after Next of the one before, not after %.80q", q.After)
		}
	}
	limit := q.Limit
	if limit == 0 {
		limit = 100
	}
	limit = min(limit, maxBatch)
	answer, err := c.run(inspectScript, append(arguments(4), "state", strconv.Itoa(int(q.State)), q.After, strconv.Itoa(limit)))
	if err != nil {
		return nil, "", err
	}
	return parsePage(answer)
}

// parsePage reads tasks, and where the next page begins.
func parsePage(answer rueidis.RedisMessage) ([]queue.TaskState, string, error) {
	parts, err := answer.ToArray()
	if err != nil || len(parts) != 2 {
		return nil, "", errDamaged
	}
	list, err1 := parts[0].ToArray()
	next, err2 := parts[1].ToString()
	if err := first(err1, err2); err != nil {
		return nil, "", errDamaged
	}
	var tasks []queue.TaskState
	for i := range list {
		t, err := parseTask(list[i])
		if err != nil {
			return nil, "", err
		}
		tasks = append(tasks, t)
	}
	return tasks, next, nil
}

// parseTask reads ID, record, what is kept of the end, attempts and progress.
func parseTask(message rueidis.RedisMessage) (t queue.TaskState, err error) {
	parts, err := message.ToArray()
	if err != nil || len(parts) != 5 {
		return t, errDamaged
	}
	id, err1 := parts[0].ToString()
	text, err2 := parts[1].ToString()
	end, err3 := parts[2].ToString()
	past, err4 := parts[3].ToArray()
	progress, err5 := parts[4].ToString()
	if first(err1, err2, err3, err4, err5) != nil {
		return t, errDamaged
	}
	if t.Past, err = parseAttempts(past); err != nil {
		return t, fmt.Errorf("attempts of task %q: %w", id, err)
	}
	if len(past) == 0 {
		t.Past = nil
	}
	t.ID = id
	if text != "" {
		err = addRecord(&t, text)
	}
	if err == nil && end != "" {
		err = addEnding(&t, end)
	}
	if err == nil && progress != "" {
		f := fields{rest: progress}
		t.Progress = [2]int64{f.number(), f.number()}
	}
	if err != nil {
		err = fmt.Errorf("task %q: %w", id, err)
	}
	return t, err
}

// states of records.
var states = map[byte]queue.State{'w': queue.StateWaiting, 'd': queue.StateDelayed, 'r': queue.StateRunning, 'x': queue.StateDead}

func addRecord(t *queue.TaskState, text string) error {
	var r record
	if err := r.parse(text); err != nil || states[r.state] == queue.StateUnknown {
		return errDamaged
	}
	t.Task, t.State, t.Attempt, t.Worker, t.Submitted = r.task(t.ID), states[r.state], r.attempt, r.worker, r.submitted()
	if r.started != 0 {
		t.Started = time.UnixMilli(r.started)
	}
	for _, flag := range r.flags {
		t.Unwanted = t.Unwanted || flag == 'u'
	}
	return nil
}

func addEnding(t *queue.TaskState, text string) error {
	e, err := parseEnding(text)
	if err != nil {
		return err
	}
	t.State, t.Attempt, t.Worker = e.state, e.attempt, e.worker
	t.Label, t.Group, t.Priority, t.Retention = e.label, e.group, e.priority, e.retention
	t.Submitted, t.Ended, t.Outcome = time.UnixMilli(e.submitted/1000), time.UnixMilli(e.ended), []byte(e.outcome)
	if e.started != 0 {
		t.Started = time.UnixMilli(e.started)
	}
	t.Unwanted = false
	return nil
}

// stats reports the queue's numbers.
func (c *call) stats() (*queue.Stats, error) {
	answer, err := c.run(inspectScript, append(arguments(1), "stats"))
	if err != nil {
		return nil, err
	}
	parts, err := answer.ToArray()
	if err != nil || len(parts) != 2 {
		return nil, errDamaged
	}
	numbers, err1 := parts[0].AsIntSlice()
	workers, err2 := parts[1].AsStrSlice()
	if first(err1, err2) != nil || len(numbers) != 9 || len(workers)%2 != 0 {
		return nil, errDamaged
	}
	s := &queue.Stats{Waiting: numbers[0], Delayed: numbers[1], Running: numbers[2], Dead: numbers[3], Done: numbers[4],
		Failed: numbers[5], Canceled: numbers[6], Oldest: time.Duration(numbers[7]) * time.Microsecond, Paused: numbers[8] == 1}
	for i := 0; i < len(workers); i += 2 {
		running, err := strconv.ParseInt(workers[i+1], 10, 64)
		if err != nil {
			return nil, errDamaged
		}
		s.Workers = append(s.Workers, queue.WorkerStats{Name: workers[i], Running: running})
	}
	slices.SortFunc(s.Workers, func(a, b queue.WorkerStats) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return s, nil
}

// queues lists the names of all queues.
func (c *call) queues() ([]string, error) {
	answer, err := c.do(func(b rueidis.Builder) rueidis.Completed {
		return b.Smembers().Key(c.broker.place.prefix + ":queues").Build()
	})
	if err != nil {
		return nil, err
	}
	names, err := answer.AsStrSlice()
	slices.Sort(names)
	return names, err
}
