package queue

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/afar-go/afar"
)

// headerTask is the header that tells a function which task it runs: attempt, token, ID
// and queue, with spaces between them.
const headerTask = "afar-task"

// headerDue is the header that tells a periodic task its time.
const headerDue = "afar-due"

// taskHeader makes it.
func taskHeader(queue string, d *Delivery) string {
	b := strconv.AppendInt(make([]byte, 0, 24+len(d.ID)+len(queue)), int64(d.Attempt), 10)
	b = strconv.AppendUint(append(b, ' '), d.Token, 10)
	b = append(append(append(append(b, ' '), d.ID...), ' '), queue...)
	return string(b)
}

// Running says which task a function runs.
type Running struct {
	Queue   string
	ID      string
	Attempt int // counts from 1
	// Due is the time at which Schedule submitted a periodic task, by its expression; zero of
	// others.
	Due time.Time
	// Token grows with every delivery of the task: the fencing token. Who keeps the highest
	// one that it has seen, and refuses lower ones, hears only of the latest worker.
	Token uint64
}

// Current returns, in a function, which task it runs. ok is false when it is not run for a
// task.
func Current(ctx context.Context) (r Running, ok bool) {
	header := afar.Header(ctx)
	parts := strings.SplitN(header[headerTask], " ", 4)
	if len(parts) < 4 {
		return r, false
	}
	r.Attempt, _ = strconv.Atoi(parts[0])
	r.Token, _ = strconv.ParseUint(parts[1], 10, 64)
	r.ID, r.Queue = parts[2], parts[3]
	r.Due, _ = time.Parse(time.RFC3339, header[headerDue])
	return r, true
}

// headers are those that go with a call: its own, and in a function those of the call that it
// runs, but for what tells that apart from others.
func headers(ctx context.Context, call *afar.Call) map[string]string {
	outer := afar.Header(ctx)
	if outer[headerTask] == "" {
		return call.Header
	}
	h := maps.Clone(outer)
	delete(h, headerTask)
	delete(h, headerDue)
	maps.Copy(h, call.Header)
	return h
}
