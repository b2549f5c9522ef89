package chaos_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
)

// clock is the time of day of a server, which a test moves.
type clock struct {
	t    testing.TB
	path string
}

// newClock returns one, and what has to be in the environment of who is to have it: a program that
// reads the time by the C library.
func newClock(s *stage) (*clock, []string) {
	s.t.Helper()
	library := filepath.Join(s.dir, "clock.so")
	if out, err := exec.Command(need(s.t, "gcc"), "-shared", "-fPIC", "-O1", "-o", library, "testdata/clock.c").CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	c := &clock{s.t, filepath.Join(s.dir, "offset")}
	c.set(0)
	return c, []string{"LD_PRELOAD=" + library, "CLOCK_OFFSET=" + c.path}
}

// set makes the clock be off by d.
func (c *clock) set(d time.Duration) {
	c.t.Helper()
	f, err := os.OpenFile(c.path, os.O_CREATE|os.O_WRONLY, 0o600)
	must(c.t, err)
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(int64(d/time.Second))), 0)
	must(c.t, err)
	must(c.t, f.Close())
}

// The time of day of a Redis server, which is the only one that its queues know, goes on by an hour,
// and then back by two, and by one more. Tasks run all the same, none has two outcomes, and tokens grow. (The clocks
// of clients are durations: no process here can have another time of day, but nobody asks them.)
func TestClock(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	clock, env := newClock(s)
	v := startServer(s, "redis", env...)
	b := v.broker()
	q := queue.New(addressed{b}, "hours")
	far := s.play(part{Role: "worker", Name: "far", URL: v.url(), Queue: "hours", Lease: time.Minute, Tasks: 1}, nil)
	g := newGate(t, filepath.Join(s.dir, "gate"))
	first, err := queue.Submit(within(t), q, chore, order{N: 3, Gate: filepath.Join(s.dir, "gate")}, queue.ID("first"))
	must(t, err)
	g.await()

	clock.set(time.Hour) // so the lease is over, and nobody has waited for a minute
	near := s.play(part{Role: "worker", Name: "near", URL: v.url(), Queue: "hours", Lease: time.Minute}, nil)
	p := prove(t, q, first, "near")
	if p.Attempt != 2 {
		t.Errorf("the outcome is %+v", p)
	}
	g.open()
	told, cursor, last := map[string]int{}, queue.Cursor(""), p.Token
	for i, offset := range []time.Duration{time.Hour, -time.Hour, -2 * time.Hour} {
		clock.set(offset)
		again, err := queue.Submit(within(t), q, chore, order{N: i, Fail: true}, queue.MaxAttempts(2))
		must(t, err)
		p, err := again.Wait(within(t))
		must(t, err)
		if p.Attempt != 2 || p.Square != i*i || p.Token <= last {
			t.Errorf("with a clock that is off by %v the outcome is %+v, after the token %d", offset, p, last)
		}
		last = p.Token
		events, next, err := b.Follow(within(t), q.Name(), queue.Topic{Client: client}, cursor, 0) // it is kept for an hour, by that clock
		must(t, err)
		cursor = next
		for _, e := range events {
			told[e.ID]++
		}
	}
	if again := prove(t, q, first, "near"); again.Token != p.Token {
		t.Errorf("the outcome was %+v, and is %+v", p, again)
	}
	if len(told) != 4 || told["first"] != 1 {
		t.Errorf("the client was told of %v", told)
	}
	near.end(t)
	far.end(t)
}
