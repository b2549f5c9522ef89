package queue

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// LogRecord is what a task's function has logged with [afar.Logger].
type LogRecord struct {
	Time    time.Time
	Level   slog.Level
	Message string
	Attrs   []slog.Attr
	Worker  string // who said it
	Attempt int    // in which attempt
}

// maxLog is how many bytes of records one attempt may add to a task's log. What is beyond
// them is counted, and said at the end.
const maxLog = 1 << 20

// maxRecord is how many bytes a record may have at a broker; a longer one is cut.
const maxRecord = 60 << 10

// appendLog encodes a record.
func appendLog(worker string, attempt int, r *peer.Record) []byte {
	return r.Append(wire.AppendInt(wire.AppendText(nil, worker), attempt))
}

func parseLog(data []byte) (LogRecord, error) {
	r := wire.NewReader(data)
	worker, attempt := r.Text(), r.Int()
	rec := peer.ParseRecord(r)
	if err := r.End(); err != nil {
		return LogRecord{}, fmt.Errorf("queue: not a log record of afar: %w", err)
	}
	return LogRecord{Time: rec.Time, Level: rec.Level, Message: rec.Message, Attrs: rec.Attrs, Worker: worker, Attempt: attempt}, nil
}

// logHandler takes the records of a delivery.
type logHandler struct{ to *delivery }

// Enabled wants everything but what is for debugging.
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.to.work.level
}

// Handle takes a record. What it has for attributes beside the function's own, worker, call
// and attempt, is known of a LogRecord.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	rec := &peer.Record{Time: r.Time, Level: r.Level, Message: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		rec.Attrs = append(rec.Attrs, a)
		return true
	})
	const ours = 3 // worker, call and attempt come last
	if n := len(rec.Attrs); n >= ours && rec.Attrs[n-1].Key == "attempt" {
		rec.Attrs = rec.Attrs[:n-ours]
	}
	h.to.say(rec)
	return nil
}

// WithAttrs is never called of a handler that gets records which were made elsewhere.
func (h *logHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup is never called either.
func (h *logHandler) WithGroup(string) slog.Handler { return h }
