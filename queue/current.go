package queue

import (
	"context"
	"strconv"

	"github.com/afar-go/afar"
)

// Headers that tell a function which task it runs.
const (
	headerQueue   = "afar-queue"
	headerTask    = "afar-task"
	headerAttempt = "afar-attempt"
	headerToken   = "afar-token"
)

// Running says which task a function runs.
type Running struct {
	Queue   string
	ID      string
	Attempt int // counts from 1
	// Token grows with every delivery of the task: the fencing token. Who keeps the highest
	// one that it has seen, and refuses lower ones, hears only of the latest worker.
	Token uint64
}

// Current returns, in a function, which task it runs. ok is false when it is not run for a
// task.
func Current(ctx context.Context) (r Running, ok bool) {
	h := afar.Header(ctx)
	r = Running{Queue: h[headerQueue], ID: h[headerTask]}
	r.Attempt, _ = strconv.Atoi(h[headerAttempt])
	r.Token, _ = strconv.ParseUint(h[headerToken], 10, 64)
	return r, r.ID != ""
}
