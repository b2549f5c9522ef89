package afar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// diary is a slog.Handler that keeps records as maps; groups are maps within.
type diary struct {
	level slog.Level
	mu    sync.Mutex
	pages []map[string]any
}

func (d *diary) Enabled(_ context.Context, l slog.Level) bool { return l >= d.level }
func (d *diary) WithAttrs([]slog.Attr) slog.Handler           { return d }
func (d *diary) WithGroup(string) slog.Handler                { return d }

func (d *diary) Handle(_ context.Context, r slog.Record) error {
	page := map[string]any{"msg": r.Message, "level": r.Level, "time": r.Time}
	r.Attrs(func(a slog.Attr) bool {
		page[a.Key] = plain(a.Value)
		return true
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pages = append(d.pages, page)
	return nil
}

func plain(v slog.Value) any {
	if v.Kind() != slog.KindGroup {
		return v.Any()
	}
	group := map[string]any{}
	for _, a := range v.Group() {
		group[a.Key] = plain(a.Value)
	}
	return group
}

// read returns what is written so far.
func (d *diary) read() []map[string]any {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]map[string]any(nil), d.pages...)
}

var logger = afar.Func(logSome)

func logSome(ctx context.Context, n int) (int, error) {
	log := afar.Logger(ctx)
	for i := range n {
		log.Info("line", "i", i)
	}
	return n, nil
}

// Records arrive in order, with the attributes of the call, before its result.
func TestLogOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		book := &diary{}
		pool := openWith(t, afar.Config{Log: book}, scheme+":1?id=w")
		total := 0
		calls := map[any]bool{}
		for _, n := range []int{1, 0, 500, 3} {
			if _, err := logger.On(pool)(within(t), n); err != nil {
				t.Fatal(err)
			}
			pages := book.read()
			if len(pages) != total+n {
				t.Fatalf("%d records when the result of %d came, want %d", len(pages), n, total+n)
			}
			for i, p := range pages[total:] {
				call, _ := p["call"].(string)
				if p["msg"] != "line" || p["i"] != int64(i) || p["worker"] != "w" || p["attempt"] != int64(1) || !strings.Contains(call, "logSome") {
					t.Fatalf("record %d: %v", i, p)
				}
				calls[call] = true
			}
			total += n
		}
		if len(calls) != 3 {
			t.Errorf("3 calls with records are told apart as %v", calls)
		}
	})
}

// Every record of a map is there when its input's result is, whatever worker it
// came from.
func TestLogOfMap(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		book := &diary{}
		pool := openWith(t, afar.Config{Log: book}, scheme+":2")
		done := 0
		for n, err := range logger.Map(within(t), pool, func(yield func(int) bool) {
			for i := range 300 {
				if !yield(i % 4) {
					return
				}
			}
		}) {
			if err != nil {
				t.Fatal(err)
			}
			if done += n; len(book.read()) < done {
				t.Fatalf("%d records, and results of %d", len(book.read()), done)
			}
		}
		if got := len(book.read()); got != done {
			t.Errorf("%d records, want %d", got, done)
		}
	})
}

var stylist = afar.Func(logInStyle)

func logInStyle(ctx context.Context, _ int) (int, error) {
	log := afar.Logger(ctx).With("city", "Ulm").WithGroup("g").With("a", 1).WithGroup("h").WithGroup("")
	log.Warn("styled", "b", true, slog.Group("k", "f", 1.5), slog.Duration("d", time.Second), "err", errors.New("oops"),
		"u", uint64(1<<63), "any", []int{1, 2})
	afar.Logger(ctx).WithGroup("empty").Error("bare")
	return 0, nil
}

// Groups and attributes arrive as they were given.
func TestLogAttributes(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		book := &diary{}
		if _, err := stylist.On(openWith(t, afar.Config{Log: book}, scheme+":1"))(within(t), 0); err != nil {
			t.Fatal(err)
		}
		pages := book.read()
		if len(pages) != 2 {
			t.Fatalf("%v", pages)
		}
		want := map[string]any{"a": int64(1), "h": map[string]any{"b": true, "k": map[string]any{"f": 1.5}, "d": time.Second,
			"err": "oops", "u": uint64(1 << 63), "any": "[1 2]"}}
		if got := pages[0]; got["city"] != "Ulm" || got["level"] != slog.LevelWarn || !reflect.DeepEqual(got["g"], want) {
			t.Errorf("%v", got)
		}
		if at, _ := pages[0]["time"].(time.Time); at.IsZero() || time.Since(at) < 0 {
			t.Errorf("time %v", at)
		}
		if got := pages[1]; got["msg"] != "bare" || got["level"] != slog.LevelError || got["empty"] != nil {
			t.Errorf("%v", got)
		}
	})
}

var leveler = afar.Func(logLevels)

// logLevels logs at each level and returns which of them are enabled.
func logLevels(ctx context.Context, _ int) (string, error) {
	enabled := ""
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if afar.Logger(ctx).Enabled(ctx, l) {
			enabled += l.String()[:1]
		}
		afar.Logger(ctx).Log(ctx, l, "here")
	}
	return enabled, nil
}

// Levels that the handler does not want are not sent; WithLog decides for the
// calls of its context.
func TestLogLevels(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		book := &diary{level: slog.LevelWarn}
		pool := openWith(t, afar.Config{Log: book}, scheme+":1")
		debug := &diary{level: slog.LevelDebug}
		for _, test := range []struct {
			ctx  context.Context
			book *diary
			want string
		}{
			{within(t), book, "WE"},
			{afar.WithLog(within(t), debug), debug, "DIWE"},
			{afar.WithLog(within(t), slog.DiscardHandler), &diary{}, ""},
		} {
			enabled, err := leveler.On(pool)(test.ctx, 0)
			if got := len(test.book.read()); err != nil || enabled != test.want || got != len(test.want) {
				t.Errorf("enabled %q, %d records, %v, want %q", enabled, got, err, test.want)
			}
		}
		if got := len(book.read()); got != 2 {
			t.Errorf("%d records came to the pool's handler", got)
		}
	})
}

var nestedLogger = afar.Func(logWithin)

func logWithin(ctx context.Context, n int) (int, error) {
	afar.Logger(ctx).Info("outer")
	return logger.On(afar.Caller(ctx))(ctx, n)
}

// The records of calls within calls go where those of the outer call go.
func TestLogOfNestedCalls(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pools, mine := &diary{}, &diary{}
		pool := openWith(t, afar.Config{Log: pools}, scheme+":1")
		for _, ctx := range []context.Context{within(t), afar.WithLog(within(t), mine)} {
			if _, err := nestedLogger.On(pool)(ctx, 5); err != nil {
				t.Fatal(err)
			}
		}
		for name, book := range map[string]*diary{"the pool's": pools, "WithLog's": mine} {
			if got := len(book.read()); got != 6 {
				t.Errorf("%s handler has %d records", name, got)
			}
		}
	})
}

// gate is a handler that waits at its first record.
type gate struct {
	diary
	reached chan struct{}
	opened  chan struct{}
	once    sync.Once
}

func (g *gate) Handle(ctx context.Context, r slog.Record) error {
	g.once.Do(func() {
		close(g.reached)
		<-g.opened
	})
	return g.diary.Handle(ctx, r)
}

// A handler that is slow holds back the call that logs, and no other: neither
// in another worker nor in the same.
func TestSlowLogHandler(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		slow := &gate{reached: make(chan struct{}), opened: make(chan struct{})}
		pool := open(t, scheme+":2")
		g := pool.Gateways()
		done := make(chan error, 1)
		go func() {
			_, err := logger.On(g[0])(afar.WithLog(within(t), slow), 3)
			done <- err
		}()
		receive(t, slow.reached)
		for i := range g {
			if out, err := square.On(g[i])(within(t), 3); out != 9 || err != nil {
				t.Errorf("worker %d: %d, %v", i, out, err)
			}
		}
		if _, err := logger.On(g[1])(within(t), 3); err != nil {
			t.Error(err)
		}
		select {
		case err := <-done:
			t.Errorf("the call has ended before its records: %v", err)
		default:
		}
		close(slow.opened)
		if err := receive(t, done); err != nil || len(slow.read()) != 3 {
			t.Errorf("%d records, %v", len(slow.read()), err)
		}
	})
}

var (
	logged  atomic.Int64 // in-process
	chatter = afar.Func(logMuch)
)

func logMuch(ctx context.Context, n int) (int, error) {
	log, text := afar.Logger(ctx), strings.Repeat("x", 500)
	for i := range n {
		log.Info(text, "i", i)
		logged.Add(1)
	}
	return n, nil
}

// flow is a handler that compares what was logged with what it has handled.
type flow struct {
	t       *testing.T
	handled int64
	ahead   int64 // at the most
}

func (f *flow) Enabled(context.Context, slog.Level) bool { return true }
func (f *flow) WithAttrs([]slog.Attr) slog.Handler       { return f }
func (f *flow) WithGroup(string) slog.Handler            { return f }

func (f *flow) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "i" && a.Value.Int64() != f.handled {
			f.t.Errorf("record %d came as number %d", a.Value.Int64(), f.handled)
		}
		return a.Key != "i"
	})
	f.handled++
	f.ahead = max(f.ahead, logged.Load()-f.handled)
	return nil
}

// A hundred thousand records arrive in order, and a function that logs is never
// more than a window of a few megabytes ahead of the handler.
func TestLogFlowControl(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		logged.Store(0)
		const records = 100_000
		f := &flow{t: t}
		if _, err := chatter.On(open(t, scheme+":1"))(afar.WithLog(within(t), f), records); err != nil {
			t.Fatal(err)
		}
		if f.handled != records {
			t.Errorf("%d records", f.handled)
		}
		if f.ahead > 10_000 { // of 500 bytes and more
			t.Errorf("the function was %d records ahead", f.ahead)
		}
	})
}

var worker = afar.Func(work)

func work(ctx context.Context, steps int) (int, error) {
	for i := range steps {
		afar.Progress(ctx, int64(i), 1_000_000)
	}
	return steps, nil
}

// The last report of progress arrives before the result.
func TestProgress(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1?id=w")
		var mu sync.Mutex
		var last [2]int64
		reports := 0
		ctx := afar.WithProgress(within(t), func(worker string, done, total int64) {
			mu.Lock()
			defer mu.Unlock()
			if worker != "w" || total != 1_000_000 || done < last[0] {
				t.Errorf("%s: %d of %d after %d", worker, done, total, last[0])
			}
			last = [2]int64{done, total}
			reports++
		})
		for _, steps := range []int{1, 2, 5000} {
			last = [2]int64{}
			if _, err := worker.On(pool)(ctx, steps); err != nil {
				t.Fatal(err)
			}
			if last[0] != int64(steps-1) {
				t.Errorf("the last report is %d of %d steps", last[0], steps)
			}
		}
		if reports > 4000 {
			t.Errorf("%d reports are not thinned out", reports)
		}
	})
	afar.Progress(context.Background(), 1, 2) // outside of a call: nothing
}

// A lost worker is logged by the pool; attempts are told apart in records.
func TestLogOfAttempts(t *testing.T) {
	book := &diary{}
	pool := openWith(t, afar.Config{Log: book, Stderr: io.Discard}, "local:1?id=w")
	if _, err := logThenDie.On(pool)(within(t), death{File: filepath.Join(t.TempDir(), "f"), Times: 2, Code: 3}); err != nil {
		t.Fatal(err)
	}
	// What a process logs in its last moment may be lost with it.
	var attempts []any
	losses := 0
	for _, p := range book.read() {
		if p["msg"] == "afar: worker lost" && p["worker"] == "w" && p["pid"] != nil {
			losses++
		} else {
			attempts = append(attempts, p["attempt"])
		}
	}
	order := fmt.Sprint(attempts)
	if losses != 2 || !strings.HasSuffix(order, "3]") || !strings.Contains("[1 2 3] [1 3] [2 3] [3]", order) {
		t.Errorf("%d losses, attempts %s", losses, order)
	}
}

var logThenDie = afar.Func(logAndDie)

func logAndDie(ctx context.Context, d death) (int, error) {
	afar.Logger(ctx).Info("alive")
	afar.Progress(ctx, 1, 1)
	return die(ctx, d)
}

// Outside of a call, Logger is slog's.
func TestLoggerOutsideOfACall(t *testing.T) {
	if afar.Logger(context.Background()) != slog.Default() {
		t.Error("another logger")
	}
}
