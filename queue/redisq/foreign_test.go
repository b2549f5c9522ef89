package redisq_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/redisq"
)

// everything calls all methods, and returns their errors.
func everything(ctx context.Context, b *redisq.Broker, q string) map[string]error {
	errs := map[string]error{}
	_, errs["Submit"] = b.Submit(ctx, q, []queue.Task{{ID: "new", Client: "c"}, {ID: "late", Delay: time.Hour}, {ID: "random", Random: true}})
	ds, err := b.Take(ctx, q, queue.TakeRequest{Worker: "w", Max: 10, Lease: time.Minute})
	errs["Take"] = err
	lease := queue.Lease{ID: "new", Token: 1}
	for _, d := range ds {
		if d.ID == "new" {
			lease.Token = d.Token
		}
	}
	_, errs["Renew"] = b.Renew(ctx, q, "w", []queue.Beat{{Lease: lease, For: time.Minute, Log: [][]byte{[]byte("said")}, Progress: [2]int64{1, 2}}})
	_, errs["Retry"] = b.Settle(ctx, q, []queue.Settlement{{Lease: lease, Worker: "w", Ending: queue.EndRetry, Error: []byte("no")}})
	_, errs["Settle"] = b.Settle(ctx, q, []queue.Settlement{{Lease: lease, Worker: "w", Ending: queue.EndDone}})
	for name, topic := range map[string]queue.Topic{"the queue": {}, "a client": {Client: "c"}, "a task": {Task: "new"}} {
		_, _, errs["Follow "+name] = b.Follow(ctx, q, topic, "", 0)
		_, _, errs["Follow newest of "+name] = b.Follow(ctx, q, topic, queue.Newest, 0)
	}
	_, errs["Inspect IDs"] = b.Inspect(ctx, q, queue.Query{IDs: []string{"new", "foreign"}})
	_, errs["Inspect stats"] = b.Inspect(ctx, q, queue.Query{Stats: true, Queues: true})
	for state := queue.StateDelayed; state <= queue.StateCanceled; state++ {
		_, errs[fmt.Sprint("Inspect state ", state)] = b.Inspect(ctx, q, queue.Query{State: state})
	}
	for verb := queue.Cancel; verb <= queue.Leave; verb++ {
		_, errs[fmt.Sprint("Change ", verb)] = b.Change(ctx, q, queue.Change{Verb: verb, Worker: "w"})
		if verb <= queue.Drop {
			_, errs[fmt.Sprint("Change ", verb, " of IDs")] = b.Change(ctx, q, queue.Change{Verb: verb, IDs: []string{"new", "foreign", "late"}})
		}
	}
	hash := strings.Repeat("0", 64)
	_, errs["Keep"] = b.Blobs(q).Keep(ctx, hash, time.Second)
	if r, err := b.Blobs(q).Get(ctx, hash); err == nil {
		_, err := r.Read(make([]byte, 10))
		errs["Get"] = err
		_ = r.Close()
	}
	return errs
}

// TestForeignKeys puts something of another kind at each place where a queue keeps something.
// Methods that meet it say so, and name the queue; the others do what they do; none hangs.
func TestForeignKeys(t *testing.T) {
	s := startServer(t)
	b := open(t, "unix://"+s.socket)
	places := []string{"meta", "tasks", "l:1:", "back:1:", "turn:1", "gone", "due", "delayed", "e:4", "e:6", "forget", "takes", "busy", "w", "p:new",
		"notes", "o:new", "progress", "unwanted", "c:c", "n:c", "t:new", "ctl", "watch", "bell", "refs", "x:" + strings.Repeat("0", 64)}
	met := 0
	for i, place := range places {
		for _, kind := range [][]string{{"SET", "text"}, {"SADD", "member"}} {
			q := fmt.Sprintf("q%d-%s", i, kind[0])
			s.must(kind[0], "afar:{"+q+"}:"+place, kind[1])
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			for range 2 {
				for name, err := range everything(ctx, b, q) {
					if err == nil {
						continue
					}
					met++
					if ctx.Err() != nil || !strings.Contains(err.Error(), q) {
						t.Errorf("%s, with %s at %s, gives %v", name, kind[0], place, err)
					}
				}
			}
			cancel()
		}
	}
	if met < len(places) {
		t.Errorf("only %d errors were met", met)
	}
}

// TestDamagedEntries puts nonsense where a queue keeps what it can read.
func TestDamagedEntries(t *testing.T) {
	s := startServer(t)
	b := open(t, "unix://"+s.socket)
	for i, nonsense := range []string{"", "w", "w\n", "w\n123", "r\nx\ny", "w\n1795201044293164 x\n", "r 1 2 3\n1795201044293164 0 1 0 0 = =\nbody",
		"w\n1795201044293164 0 1 99999 0 = =\nbody", "x\n", "\n\n\n", strings.Repeat("w\n", 1000)} {
		q := fmt.Sprint("q", i)
		key := func(name string) string { return "afar:{" + q + "}:" + name }
		s.must("HSET", key("tasks"), "foreign", nonsense)
		s.must("RPUSH", key("turn:1"), "")
		s.must("RPUSH", key("l:1:"), "foreign", "nobody")
		s.must("ZADD", key("back:1:"), "1", "foreign")
		s.must("ZADD", key("due"), "1", "dforeign", "1", "lforeign", "1", "t1", "1", "?", "1", "")
		s.must("RPUSH", key("k:1"), "foreign")
		s.must("HSET", key("takes"), "1", "1")
		s.must("ZADD", key("delayed"), "5", "foreign")
		s.must("ZADD", key("e:6"), "5", "foreign")
		s.must("SET", key("o:foreign"), nonsense)
		s.must("XADD", key("c:c"), "1-0", "a", nonsense)
		s.must("XADD", key("t:new"), "1-0", "a", nonsense)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		for range 3 {
			for name, err := range everything(ctx, b, q) {
				if err != nil && (ctx.Err() != nil || !strings.Contains(err.Error(), q)) {
					t.Errorf("%s, with %q, gives %v", name, nonsense, err)
				}
			}
		}
		if known, err := b.Submit(ctx, q, []queue.Task{{ID: "good", Priority: queue.High}}); err != nil || known[0] {
			t.Errorf("Submit gives %v, %v", known, err)
		}
		ds, err := b.Take(ctx, q, queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute, Wait: 10 * time.Second})
		if err != nil || len(ds) != 1 || ds[0].ID != "good" {
			t.Errorf("with %q in the queue Take gives %v, %v", nonsense, ds, err)
		}
		cancel()
	}
}

// TestCursorsThatAreNone are refused.
func TestCursorsThatAreNone(t *testing.T) {
	b := open(t, "unix://"+startServer(t).socket)
	for _, cursor := range []queue.Cursor{"x", "1", "1-", "-1", "1-2-3", "0-0 0"} {
		for _, topic := range []queue.Topic{{}, {Client: "c"}, {Task: "t"}} {
			if _, _, err := b.Follow(t.Context(), "q", topic, cursor, time.Hour); err == nil || !strings.Contains(err.Error(), "cursor") {
				t.Errorf("Follow from %q gives %v", cursor, err)
			}
		}
	}
	if _, err := b.Inspect(t.Context(), "q", queue.Query{State: queue.StateDone, After: "t1"}); err == nil {
		t.Error("a page after a task's ID is not refused")
	}
}
