package queue

import (
	"context"
	"log/slog"
	"time"

	"github.com/afar-go/afar"
)

// progressPause is how often a caller looks how far its task is.
const progressPause = 500 * time.Millisecond

// attend waits for a task's end as one who hears what it says meanwhile.
func (q *Queue) attend(ctx context.Context, call *afar.Call, id string) (Event, error) {
	if call.Progress != nil {
		over, watched := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(watched)
			q.watch(ctx, call, id, over)
		}()
		defer func() {
			close(over)
			<-watched
		}()
	}
	return q.follow(ctx, id, func(e Event) bool {
		if r, err := parseLog(e.Data); err == nil && call.Log != nil {
			emit(ctx, call.Log, call.Function, id, &r)
		}
		return true
	})
}

// watch reports the progress of a task until it is over, and then a last time.
func (q *Queue) watch(ctx context.Context, call *afar.Call, id string, over <-chan struct{}) {
	var last [2]int64
	tick := time.NewTicker(progressPause)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-over:
			ended = true
		}
		t, err := q.state(ctx, id)
		if err == nil && t.Progress != last {
			last = t.Progress
			call.Progress(t.Worker, last[0], last[1])
		}
	}
}

// emit gives a record to a handler, with the attributes that those of a pool have.
func emit(ctx context.Context, h slog.Handler, function, id string, r *LogRecord) {
	if !h.Enabled(ctx, r.Level) {
		return
	}
	rec := slog.NewRecord(r.Time, r.Level, r.Message, 0)
	rec.AddAttrs(r.Attrs...)
	rec.AddAttrs(slog.String("worker", r.Worker), slog.String("call", function+"/"+id), slog.Int("attempt", r.Attempt))
	_ = h.Handle(ctx, rec) // a handler's failure is its own affair
}
