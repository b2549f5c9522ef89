package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

func say(ctx context.Context, message string, attrs ...slog.Attr) error {
	return FromContext(ctx).Log(&Record{Time: time.Now(), Message: message, Attrs: attrs})
}

// listener is a caller that hears of notes and of results, in the order in
// which it would tell its user.
type listener struct {
	conn *Conn

	mu    sync.Mutex
	heard []string
	hold  chan struct{} // when not nil, notes are not handled before it is closed
}

func (l *listener) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, fmt.Sprintf(format, args...))
}

func (l *listener) note(n Note) {
	if l.hold != nil {
		<-l.hold
	}
	if n.Record != nil {
		l.add("%d.%d says %s", n.Chunk, n.Index, n.Record.Message)
	} else {
		l.add("%d.%d is at %d of %d", n.Chunk, n.Index, n.Done, n.Total)
	}
}

func (l *listener) Results(chunk uint64, first, n int, _ time.Duration, body *wire.Reader, _ bool) error {
	for i := range n {
		x, err := wire.ParseResult(body)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%d.%d ends", chunk, first+i)
		l.conn.AfterNotes(x.Logged, func() { l.add("%s", text) })
	}
	return body.End()
}

func (l *listener) Release(uint64, int)                         {}
func (l *listener) Park(wire.Place)                             {}
func (l *listener) Unpark(wire.Place)                           {}
func (l *listener) Idle()                                       {}
func (l *listener) Cancel(wire.Place, error)                    {}
func (l *listener) Calls(uint64, int, *wire.Reader, bool) error { return errors.New("no calls here") }
func (l *listener) send(chunk uint64, function int, input string) {
	l.sendTo(l.conn, chunk, function, input)
}

func (l *listener) sendTo(c *Conn, chunk uint64, function int, input string) {
	c.Send(chunk, []Call{{Info: &wire.Info{Function: function}, Input: []byte(input)}}, false)
	c.Session().Flush()
}

func (l *listener) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.heard, want) {
		t.Fatalf("heard\n %q, want\n %q", l.heard, want)
	}
	l.heard = nil
}

// listen connects a listener with an executor.
func listen(t *testing.T, slots int, bodies ...body) (*listener, *Executor) {
	a, b := launch.Pipe()
	l := &listener{}
	x := NewExecutor(context.Background(), functionsOf(bodies))
	far := Dial(b, Config{Callee: x})
	x.Bind(far)
	l.conn = Dial(a, Config{Initiator: true, Hello: wire.Hello{Concurrency: slots}, Caller: l, Callee: l, Notes: l.note})
	far.Start()
	l.conn.Start()
	if _, err := l.conn.Hello(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.conn.Close()
		l.conn.Session().Wait()
		far.Session().Wait()
	})
	return l, x
}

func TestLogsComeBeforeResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := listen(t, 2, func(ctx context.Context, s string) (string, error) {
			return s, errors.Join(say(ctx, "a"), say(ctx, "b"))
		}, echo)
		l.hold = make(chan struct{})
		l.send(1, 0, "x")
		l.send(2, 1, "x")
		l.expect(t, "2.0 ends") // what has not logged need not wait
		close(l.hold)
		l.expect(t, "1.0 says a", "1.0 says b", "1.0 ends")
	})
}

// TestLogsAreLive: they come while the function runs.
func TestLogsAreLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l, _ := listen(t, 1, func(ctx context.Context, s string) (string, error) {
			if err := say(ctx, "a"); err != nil {
				return "", err
			}
			return g.body(ctx, s)
		})
		l.send(1, 0, "x")
		l.expect(t, "1.0 says a")
		close(g.let)
		l.expect(t, "1.0 ends")
	})
}

func TestLogsBeforeGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := listen(t, 1, func(ctx context.Context, _ string) (string, error) {
			FromContext(ctx).Progress(1, 3)
			FromContext(ctx).Progress(2, 3)
			defer func() { _ = say(ctx, "bye") }()
			return misdeeds(ctx, "exit")
		})
		l.hold = make(chan struct{})
		l.send(1, 0, "x")
		l.expect(t)
		close(l.hold)
		l.expect(t, "1.0 is at 1 of 3", "1.0 says bye", "1.0 is at 2 of 3", "1.0 ends")
	})
}

// TestLogsHaveFlowControl: a slow handler holds up who logs and nobody else.
func TestLogsHaveFlowControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const records = 64
		said := 0
		l, _ := listen(t, 2, func(ctx context.Context, s string) (string, error) {
			for range records {
				if err := say(ctx, strings.Repeat("x", 64<<10)); err != nil {
					return "", err
				}
				said++
			}
			return s, nil
		}, echo)
		l.hold = make(chan struct{})
		l.send(1, 0, "x")
		synctest.Wait()
		if said == 0 || said > mux.DefaultWindow/(64<<10)+1 {
			t.Errorf("%d records were sent that nobody reads", said)
		}
		l.send(2, 1, "x")
		l.expect(t, "2.0 ends")
		close(l.hold)
		synctest.Wait()
		if said != records || len(l.heard) != records+1 {
			t.Errorf("%d of %d records, %d notes and results", said, records, len(l.heard))
		}
	})
}

func TestProgressIsThinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := listen(t, 1, func(ctx context.Context, s string) (string, error) {
			for i := range 1000 {
				FromContext(ctx).Progress(int64(i), 5000)
				time.Sleep(progressPeriod / 10)
			}
			FromContext(ctx).Progress(4321, 5000)
			return s, nil
		})
		l.send(1, 0, "x")
		time.Sleep(1001 * progressPeriod / 10)
		synctest.Wait()
		n := len(l.heard)
		if n < 95 || n > 105 {
			t.Errorf("%d notes in %v", n, 100*progressPeriod)
		}
		if got := fmt.Sprint(l.heard[n-2:]); got != "[1.0 is at 4321 of 5000 1.0 ends]" {
			t.Errorf("the end: %s", got)
		}
	})
}

// chatty logs from inside of its own rendering.
type chatty struct{ ctx context.Context }

func (c chatty) Error() string {
	_ = say(c.ctx, "inner")
	return "outer"
}

func TestAttributesMayLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := listen(t, 1, func(ctx context.Context, s string) (string, error) {
			return s, say(ctx, "with", slog.Any("err", chatty{ctx}))
		})
		l.send(1, 0, "x")
		l.expect(t, "1.0 says inner", "1.0 says with", "1.0 ends")
	})
}

func TestLoggingFromSeveralGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := listen(t, 1, func(ctx context.Context, s string) (string, error) {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 20 {
						_ = say(ctx, "x")
					}
				})
			}
			wg.Wait()
			return s, nil
		})
		l.hold = make(chan struct{})
		l.send(1, 0, "x")
		l.expect(t)
		close(l.hold)
		synctest.Wait()
		if n := len(l.heard); n != 161 || l.heard[n-1] != "1.0 ends" {
			t.Errorf("%d notes and results, the last: %q", n, l.heard[n-1])
		}
	})
}

// TestLogOnADeadLink: it fails, and neither it nor the end of the link waits
// for the other.
func TestLogOnADeadLink(t *testing.T) {
	for _, size := range []int{1, 64 << 10} {
		synctest.Test(t, func(t *testing.T) {
			a, b := launch.Pipe()
			link := &cut{Link: b}
			ended := make(chan error, 1)
			x := NewExecutor(context.Background(), functionsOf([]body{func(ctx context.Context, _ string) (string, error) {
				_ = say(ctx, "first")
				link.cut()
				var err error
				for err == nil {
					err = say(ctx, strings.Repeat("x", size))
				}
				ended <- err
				return "", err
			}}))
			far := Dial(link, Config{Callee: x})
			x.Bind(far)
			far.Start()
			l := &listener{}
			l.conn = Dial(a, Config{Initiator: true, Caller: l, Callee: l, Notes: l.note})
			l.conn.Start()
			l.send(1, 0, "x")
			if err := <-ended; err == nil {
				t.Error("no error")
			}
			<-far.Session().Done()
			far.Session().Wait()
			<-x.base.Done()
			_ = l.conn.Close()
			l.conn.Session().Wait()
		})
	}
}

// cut is a link whose writes fail from some moment on.
type cut struct {
	launch.Link
	mu     sync.Mutex
	broken bool
}

func (c *cut) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
}

func (c *cut) Write(p []byte) (int, error) {
	c.mu.Lock()
	broken := c.broken
	c.mu.Unlock()
	if broken {
		return 0, io.ErrClosedPipe
	}
	return c.Link.Write(p)
}

func (c *cut) Writev(bufs ...[]byte) error {
	_, err := c.Write(slices.Concat(bufs...))
	return err
}

func TestRecordsTravel(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 789, time.FixedZone("", 3600))
	odd := time.Date(1850, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", 754))
	rec := &Record{Time: at, Level: slog.LevelWarn, Message: "hello", Attrs: []slog.Attr{
		slog.Int("i", -5), slog.Uint64("u", math.MaxUint64), slog.Float64("f", -0.5), slog.Bool("b", true), slog.Bool("no", false),
		slog.Duration("d", -time.Second), slog.Time("t", at), slog.Time("odd", odd), slog.String("s", "text"),
		slog.Group("g", slog.Int("a", 1), slog.Group("h", slog.String("b", "c"))), slog.Group("empty"),
		slog.Any("addr", netip.MustParseAddr("::1")), slog.Any("err", io.EOF), slog.Any("bad", badStringer{}),
		slog.Any("worse", &badError{"panic"}), slog.Any("nil", nil),
	}}
	r := wire.NewReader(rec.Append(nil))
	got := ParseRecord(r)
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
	if !got.Time.Equal(at) || got.Level != rec.Level || got.Message != rec.Message || len(got.Attrs) != len(rec.Attrs) {
		t.Fatalf("got %+v", got)
	}
	for i, a := range got.Attrs {
		switch want := rec.Attrs[i]; want.Key {
		case "addr":
			if a.Value.String() != "::1" {
				t.Errorf("got %v", a)
			}
		case "err":
			if a.Value.String() != "EOF" {
				t.Errorf("got %v", a)
			}
		case "bad", "worse":
			if !strings.Contains(a.Value.String(), "PANIC") {
				t.Errorf("got %v", a)
			}
		case "odd":
			if !a.Value.Time().Equal(odd) {
				t.Errorf("got %v", a)
			}
		case "nil":
		default:
			if !a.Equal(want) {
				t.Errorf("got %v, want %v", a, want)
			}
		}
	}
}

func TestLargeRecordsAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := listen(t, 1, func(ctx context.Context, s string) (string, error) {
			huge := strings.Repeat("é", 40<<20)
			return s, errors.Join(say(ctx, "big", slog.String("a", huge)), say(ctx, huge))
		})
		l.send(1, 0, "x")
		synctest.Wait()
		if len(l.heard) != 3 || l.heard[0] != "1.0 says big" || l.heard[2] != "1.0 ends" || len(l.heard[1]) > maxRecord {
			t.Errorf("heard %d", len(l.heard))
		}
	})
}

func FuzzNote(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0, 0, 1, 1, 'k', attrGroup, 1, 1, 'k', attrInt, 4})
	f.Add([]byte{1, 1, 0, 4, 8})
	f.Fuzz(func(t *testing.T, item []byte) {
		n, err := parseNote(item)
		if err == nil && n.Record != nil {
			n.Record.Append(nil)
		}
	})
}
