package mux

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/testlink"
	"github.com/afar-go/afar/internal/wire"
)

// watched returns two ends whose link misbehaves on demand.
func watched(t *testing.T, c Config) (a, b *end, link *testlink.Link) {
	near, far := launch.Pipe()
	link = testlink.Wrap(near)
	a, b = &end{}, &end{}
	join(c, link, far, a, b)
	start(t, a, b)
	return a, b, link
}

// expectSilence checks that an end gives up in time, but not too early.
func expectSilence(t *testing.T, e *end, since time.Time, period time.Duration) {
	t.Helper()
	<-e.Done()
	took := time.Since(since)
	if took < Misses*period || took > (Misses+1)*period {
		t.Errorf("silence was noticed after %v, want %d to %d periods of %v", took, Misses, Misses+1, period)
	}
	if !errors.Is(e.Err(), ErrSilent) {
		t.Errorf("ended with %v", e.Err())
	}
}

func TestBothEndsNoticeSilence(t *testing.T) {
	for _, quietFor := range []time.Duration{0, DefaultKeepalive / 3, DefaultKeepalive - 1, time.Hour + time.Second} {
		synctest.Test(t, func(t *testing.T) {
			a, b, link := watched(t, Config{})
			time.Sleep(quietFor)
			a.Post(nil, nil) // the last byte that b hears
			b.Post(nil, nil)
			a.Flush()
			b.Flush()
			a.messages.take()
			b.messages.take()
			link.Stall()
			since := time.Now()
			expectSilence(t, a, since, DefaultKeepalive)
			b.Wait()
			// a has closed the link; had b not noticed that, then the silence.
			if took := time.Since(since); took > (Misses+1)*DefaultKeepalive {
				t.Errorf("the other end noticed after %v", took)
			}
		})
	}
}

// mute is a link whose end nobody notices: Close is not passed on.
type mute struct{ *testlink.Link }

func (m mute) Close() error { m.Stall(); return nil }

func TestEachEndNoticesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := launch.Pipe()
		link := testlink.Wrap(near)
		b := (&end{}).on(mute{link}, Config{})
		link.Stall()
		since := time.Now()
		b.Start()
		expectSilence(t, b, since, DefaultKeepalive)
		_ = link.Close()
		_ = far.Close()
		b.Wait()
	})
}

func TestIdleLinkStaysUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, link := watched(t, Config{})
		time.Sleep(24 * time.Hour)
		if a.Err() != nil || b.Err() != nil {
			t.Fatalf("ended with %v and %v", a.Err(), b.Err())
		}
		// At most a ping and an answer in each period.
		if n, limit := link.BytesOut(), int64(24*time.Hour/DefaultKeepalive*4); n > limit {
			t.Errorf("%d bytes in a day, want at most %d", n, limit)
		}
	})
}

func TestBusyLinkSendsNoPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &tap{}
		near, far := launch.Pipe()
		r.Link = near
		a, b := &end{}, &end{}
		join(Config{}, r, far, a, b)
		start(t, a, b)
		for range 100 {
			a.Post(nil, []byte("x"))
			b.Post(nil, []byte("x"))
			a.Flush()
			b.Flush()
			time.Sleep(DefaultKeepalive / 2)
		}
		if want := bytes.Repeat([]byte("\x00\x01x"), 100); !bytes.Equal(r.written, want) {
			t.Errorf("a wrote %d bytes, want only its %d of messages", len(r.written), len(want))
		}
	})
}

// tap keeps what is written to a link.
type tap struct {
	launch.Link
	written []byte // by whoever flushes
}

func (w *tap) Write(p []byte) (int, error) {
	w.written = append(w.written, p...)
	return w.Link.Write(p)
}

func TestSlowLinkIsNotASilentOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, link := watched(t, Config{})
		link.Throttle(1000)
		a.PostBulk(make([]byte, 200_000)) // takes 200 s
		a.Kick()
		b.messages.take()
		if a.Err() != nil || b.Err() != nil {
			t.Errorf("ended with %v and %v", a.Err(), b.Err())
		}
	})
}

func TestSetKeepalive(t *testing.T) {
	const period = time.Second
	for name, set := range map[string]func(e *end){
		"shorter":        func(e *end) { e.SetKeepalive(period) },
		"off and on":     func(e *end) { e.SetKeepalive(-1); e.SetKeepalive(period) },
		"0 is no change": func(e *end) { e.SetKeepalive(period); e.SetKeepalive(0) },
	} {
		for _, before := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := (&end{}).on(newBlocked(bytes.NewReader(nil)), Config{})
					if before {
						set(b) // the first message may come while Start goes on
					}
					start(t, b)
					if !before {
						time.Sleep(DefaultKeepalive + DefaultKeepalive/2) // one miss
						set(b)
					}
					expectSilence(t, b, time.Now(), period)
				})
			})
		}
	}
}

func TestKeepaliveOff(t *testing.T) {
	for _, config := range []Config{{Keepalive: -1}, {}} {
		synctest.Test(t, func(t *testing.T) {
			b := (&end{}).on(newBlocked(bytes.NewReader(nil)), config)
			b.SetKeepalive(-1)
			start(t, b)
			time.Sleep(1000 * DefaultKeepalive)
			if b.Err() != nil {
				t.Errorf("ended with %v", b.Err())
			}
		})
	}
}

func TestPingIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := launch.Pipe()
		b := (&end{}).on(far, quiet())
		start(t, b)
		for range 3 {
			if _, err := near.Write(wire.AppendHeader(nil, wire.Header{Kind: wire.Ping})); err != nil {
				t.Fatal(err)
			}
			var got [2]byte
			if _, err := near.Read(got[:]); err != nil || got[0] != byte(wire.Pong) || got[1] != 0 {
				t.Errorf("got % x, %v", got, err)
			}
		}
	})
}
