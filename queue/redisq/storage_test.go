package redisq_test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
)

// TestKillWithEverysec kills a server that says that a second may be lost: what was stored before that
// second is there, and callers notice nothing but time.
func TestKillWithEverysec(t *testing.T) {
	s := startServer(t, "--appendonly", "yes", "--appendfsync", "everysec")
	p := startProxy(t, s.socket)
	b := open(t, "redis://"+p.address())
	if _, err := b.Submit(t.Context(), "q", []queue.Task{{ID: "t", Client: "c", Retention: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	awaitText(t, s, "INFO persistence", "aof_pending_bio_fsync:0\r")
	awaitText(t, s, "INFO persistence", "aof_buffer_length:0\r")
	followed := make(chan error, 1)
	go func() {
		events, _, err := b.Follow(t.Context(), "q", queue.Topic{Client: "c"}, "", time.Minute)
		if err == nil && (len(events) != 1 || events[0].ID != "t") {
			err = fmt.Errorf("the client is told %+v", events)
		}
		followed <- err
	}()
	awaitBlocked(s, 1)
	s.stop(syscall.SIGKILL)
	taken := make(chan []queue.Delivery, 1)
	go func() {
		ds, err := b.Take(t.Context(), "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute, Wait: time.Minute})
		if err != nil {
			t.Errorf("Take: %v", err)
		}
		taken <- ds
	}()
	s.start()
	ds := <-taken
	if len(ds) != 1 || ds[0].ID != "t" {
		t.Fatalf("Take gives %+v", ds)
	}
	if _, err := b.Settle(t.Context(), "q", done(ds)); err != nil {
		t.Fatal(err)
	}
	if err := <-followed; err != nil {
		t.Error(err)
	}
}

// TestServerThatForgotEverything is used as a new one: nobody has to open a broker again.
func TestServerThatForgotEverything(t *testing.T) {
	s := startServer(t)
	b := open(t, "unix://"+s.socket)
	goThrough(t, b, "q")
	s.kill()
	goThrough(t, b, "q")
	report, err := b.Inspect(t.Context(), "", queue.Query{Queues: true})
	if err != nil || len(report.Queues) != 1 {
		t.Errorf("Inspect gives %+v, %v", report, err)
	}
}

// TestMemoryIsFlat has many tasks go through, and looks at what is left: the last events of the
// client, and a handful of keys.
func TestMemoryIsFlat(t *testing.T) {
	s := startServer(t)
	b := open(t, "unix://"+s.socket)
	round := func(n int) {
		for range n {
			tasks := make([]queue.Task, 500)
			for i := range tasks {
				tasks[i] = queue.Task{ID: "t" + strconv.Itoa(i), Body: make([]byte, 64), Client: "c"}
			}
			if _, err := b.Submit(t.Context(), "q", tasks); err != nil {
				t.Fatal(err)
			}
			ds, err := b.Take(t.Context(), "q", queue.TakeRequest{Worker: "w", Max: 500, Lease: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Settle(t.Context(), "q", done(ds)); err != nil {
				t.Fatal(err)
			}
		}
	}
	round(40) // until the topic has all the events that it keeps
	before, keys := memory(t, s), s.must("DBSIZE")
	round(100)
	if after := memory(t, s); after > before+before/4 {
		t.Errorf("after 50,000 more tasks the server has %d bytes, not %d", after, before)
	}
	if now := s.must("DBSIZE"); now != keys {
		t.Errorf("after 50,000 more tasks there are %s keys, not %s", now, keys)
	}
}

// memory is what a server's data needs.
func memory(t *testing.T, s *server) int {
	t.Helper()
	s.must("MEMORY", "PURGE")
	for line := range strings.Lines(s.text("INFO memory")) {
		if text, found := strings.CutPrefix(strings.TrimSpace(line), "used_memory_dataset:"); found {
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("the server does not say what it needs")
	return 0
}

// TestCanceledTasksLeaveNothing in lanes that nobody takes from.
func TestCanceledTasksLeaveNothing(t *testing.T) {
	s := startServer(t)
	b := open(t, "unix://"+s.socket)
	if _, err := b.Submit(t.Context(), "q", []queue.Task{{ID: "first"}}); err != nil {
		t.Fatal(err)
	}
	const n = 400
	for i := range 20 {
		tasks, ids := make([]queue.Task, n), make([]string, n)
		for k := range tasks {
			ids[k] = fmt.Sprint("t", i, "-", k)
			tasks[k] = queue.Task{ID: ids[k], Random: true}
		}
		if _, err := b.Submit(t.Context(), "q", tasks); err != nil {
			t.Fatal(err)
		}
		if count, err := b.Change(t.Context(), "q", queue.Change{Verb: queue.Cancel, IDs: ids}); err != nil || count != n {
			t.Fatalf("Change concerns %d, %v", count, err)
		}
	}
	left, err := strconv.Atoi(strings.TrimPrefix(s.must("LLEN", "afar:{q}:l:1:"), ":"))
	if err != nil || left > 2500 {
		t.Errorf("of 8,000 canceled tasks %d places are left", left)
	}
	if _, err := b.Submit(t.Context(), "q", []queue.Task{{ID: "t19-7"}}); err != nil {
		t.Fatal(err)
	}
	ds, err := b.Take(t.Context(), "q", queue.TakeRequest{Worker: "w", Max: 500, Lease: time.Minute})
	for err == nil && len(ds) < 2 {
		var more []queue.Delivery
		more, err = b.Take(t.Context(), "q", queue.TakeRequest{Worker: "w", Max: 500, Lease: time.Minute})
		ds = append(ds, more...)
	}
	if err != nil || len(ds) != 2 || ds[0].ID != "first" || ds[1].ID != "t19-7" {
		t.Errorf("Take gives %+v, %v", ds, err)
	}
}
