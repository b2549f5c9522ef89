package afar

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/peer"
)

// options is what a context holds for the calls made with it.
type options struct {
	log      slog.Handler
	header   map[string]string
	progress func(worker string, done, total int64)
}

type optionsKey struct{}

func optionsOf(ctx context.Context) options {
	o, _ := ctx.Value(optionsKey{}).(options)
	return o
}

// WithLog returns a context whose calls send their log records to h instead of
// Config.Log. Records of calls that a function makes go where its own go.
func WithLog(ctx context.Context, h slog.Handler) context.Context {
	o := optionsOf(ctx)
	o.log = h
	return context.WithValue(ctx, optionsKey{}, o)
}

// WithProgress returns a context whose calls report their progress to f, which
// may block: that holds up only the logs and progress of the same worker.
func WithProgress(ctx context.Context, f func(worker string, done, total int64)) context.Context {
	o := optionsOf(ctx)
	o.progress = f
	return context.WithValue(ctx, optionsKey{}, o)
}

// WithHeader returns a context whose calls carry a header: Header finds it in
// the function, and calls that the function makes carry it on. It is how trace
// headers travel; Config.Header adds them to every call of a pool.
func WithHeader(ctx context.Context, key, value string) context.Context {
	o := optionsOf(ctx)
	o.header = union(o.header, map[string]string{key: value})
	return context.WithValue(ctx, optionsKey{}, o)
}

// Header returns, in a function, the headers that its call carries. Do not
// change the map. Outside of a call it returns those of WithHeader.
func Header(ctx context.Context) map[string]string {
	if r := peer.FromContext(ctx); r != nil {
		return r.Info().Header
	}
	return optionsOf(ctx).header
}

// Progress reports, from a function, how far it is. Its caller sees it through
// WithProgress and in GatewayStatus. Reports in quick succession are thinned
// out; the last always arrives, before the function's result. Outside of a call
// it does nothing.
func Progress(ctx context.Context, done, total int64) {
	if r := peer.FromContext(ctx); r != nil {
		r.Progress(done, total)
	}
}

// Logger returns, in a function, a logger whose records travel to the caller,
// live and in order, and before the function's result. They get the attributes
// worker, call and attempt. Levels that the caller's handler does not want are
// not sent. Outside of a call it returns slog.Default.
func Logger(ctx context.Context) *slog.Logger {
	r := peer.FromContext(ctx)
	if r == nil {
		return slog.Default()
	}
	return slog.New(&remoteHandler{call: r})
}

// remoteHandler is the worker's end of a log.
type remoteHandler struct {
	call   *peer.Running
	groups []string
	attrs  [][]slog.Attr // of each group, the first of none
}

// Enabled tells whether the caller wants the level.
func (h *remoteHandler) Enabled(_ context.Context, level slog.Level) bool {
	return h.call.Enabled(level)
}

// Handle sends a record.
func (h *remoteHandler) Handle(_ context.Context, r slog.Record) error {
	var own []slog.Attr
	r.Attrs(func(a slog.Attr) bool {
		own = append(own, a)
		return true
	})
	for i := len(h.groups); i >= 0; i-- {
		if i < len(h.attrs) {
			own = slices.Concat(h.attrs[i], own)
		}
		if i > 0 && len(own) > 0 {
			own = []slog.Attr{{Key: h.groups[i-1], Value: slog.GroupValue(own...)}}
		}
	}
	return h.call.Log(&peer.Record{Time: r.Time, Level: r.Level, Message: r.Message, Attrs: own})
}

// WithAttrs returns a handler that adds attributes.
func (h *remoteHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.attrs = slices.Clone(h.attrs)
	for len(more.attrs) <= len(h.groups) {
		more.attrs = append(more.attrs, nil)
	}
	last := &more.attrs[len(h.groups)]
	*last = slices.Concat(*last, attrs)
	return &more
}

// WithGroup returns a handler that puts what follows into a group.
func (h *remoteHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	more := *h
	more.groups = append(slices.Clone(h.groups), name)
	return &more
}

// lowestLevel finds the lowest of the usual levels that a handler wants.
func lowestLevel(ctx context.Context, h slog.Handler) (level int, none bool) {
	for l := slog.LevelDebug - 4; l <= slog.LevelError+4; l += 2 {
		if h.Enabled(ctx, l) {
			return int(l), false
		}
	}
	return 0, true
}

// listen says in a spec where log records and progress of its calls go.
func (r *route) listen(s *dispatch.Spec, o options) {
	ctx := context.Background()
	h := o.log
	switch {
	case r.within != nil && h == nil:
		s.LogLevel, s.NoLog = r.within.Info().LogLevel, r.within.Info().NoLog
	case h != nil:
		s.Log = func(worker string, c *dispatch.Call, rec *peer.Record) { emit(h, worker, "", c, rec) }
		s.LogLevel, s.NoLog = lowestLevel(ctx, h)
	case r.config != nil:
		s.LogLevel, s.NoLog = lowestLevel(ctx, r.config.handler())
	}
	s.Progress = o.progress
}

func (c *Config) handler() slog.Handler {
	if c.Log != nil {
		return c.Log
	}
	return slog.Default().Handler()
}

// emit gives a record that came over a link to a handler: of a call, or of
// what has a name.
func emit(h slog.Handler, worker, name string, c *dispatch.Call, rec *peer.Record) {
	ctx := context.Background()
	if !h.Enabled(ctx, rec.Level) {
		return
	}
	at := rec.Time
	if at.IsZero() {
		at = time.Now()
	}
	out := slog.NewRecord(at, rec.Level, rec.Message, 0)
	out.AddAttrs(rec.Attrs...)
	out.AddAttrs(slog.String("worker", worker))
	if name != "" {
		out.AddAttrs(slog.String("call", name))
	} else if c != nil {
		out.AddAttrs(slog.String("call", fmt.Sprintf("%s/%d", c.Spec.Name, c.ID)), slog.Int("attempt", c.Attempt()))
	}
	_ = h.Handle(ctx, out) // a handler's failure is its own affair
}

// printer writes what workers print, whole lines at a time.
type printer struct {
	mu  sync.Mutex
	to  io.Writer
	buf []byte
}

func (p *printer) print(worker string, line []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf = append(append(append(append(p.buf[:0], '['), worker...), "] "...), line...)
	p.buf = append(p.buf, '\n')
	_, _ = p.to.Write(p.buf) // there is nobody to tell
}
