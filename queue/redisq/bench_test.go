package redisq_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/redisq"
)

// BenchmarkEndToEnd submits tasks of 64 bytes, takes and settles them, and hears of their ends,
// all at the same time and each with a connection of its own, in batches.
func BenchmarkEndToEnd(b *testing.B) {
	for _, batch := range []int{1, 100, 500} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			s := startServer(b)
			e := &endToEnd{b: b, broker: open(b, "unix://"+s.socket), batch: batch}
			b.ResetTimer()
			report := usage(b, s)
			e.run()
			report()
		})
	}
}

// BenchmarkRetained is the same with outcomes that are kept.
func BenchmarkRetained(b *testing.B) {
	s := startServer(b)
	e := &endToEnd{b: b, broker: open(b, "unix://"+s.socket), batch: 100, retention: time.Hour}
	b.ResetTimer()
	report := usage(b, s)
	e.run()
	report()
}

type endToEnd struct {
	b         *testing.B
	broker    *redisq.Broker
	batch     int
	retention time.Duration
}

func (e *endToEnd) run() {
	window := make(chan struct{}, max(4, 4000/e.batch)) // batches that were not heard of
	done := make(chan error, 3)
	ctx, cancel := context.WithCancel(e.b.Context())
	defer cancel()
	go func() { done <- e.submit(ctx, window) }()
	go func() { done <- e.work(ctx) }()
	go func() { done <- e.hear(ctx, window) }()
	for range 3 {
		if err := <-done; err != nil {
			cancel()
			e.b.Fatal(err)
		}
	}
}

func (e *endToEnd) submit(ctx context.Context, window chan<- struct{}) error {
	body := bytes.Repeat([]byte{'x'}, 64)
	for left := e.b.N; left > 0; {
		n := min(left, e.batch)
		left -= n
		tasks := make([]queue.Task, n)
		for i := range tasks {
			tasks[i] = queue.Task{ID: rand.Text(), Random: true, Label: "main.add", Body: body, Client: "c", Retention: e.retention}
		}
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := e.broker.Submit(ctx, "q", tasks); err != nil {
			return err
		}
	}
	return nil
}

func (e *endToEnd) work(ctx context.Context) error {
	for left := e.b.N; left > 0; {
		ds, err := e.broker.Take(ctx, "q", queue.TakeRequest{Worker: "w", Max: e.batch, Lease: time.Minute, Wait: time.Minute})
		if err != nil {
			return err
		}
		if _, err := e.broker.Settle(ctx, "q", done(ds)); err != nil {
			return err
		}
		left -= len(ds)
	}
	return nil
}

func (e *endToEnd) hear(ctx context.Context, window <-chan struct{}) error {
	cursor, heard := queue.Cursor(""), 0
	for n := 0; n < e.b.N; {
		events, next, err := e.broker.Follow(ctx, "q", queue.Topic{Client: "c"}, cursor, time.Minute)
		if err != nil {
			return err
		}
		cursor = next
		n += len(events)
		for ; heard+e.batch <= n || n == e.b.N && heard < n; heard += e.batch {
			<-window
		}
	}
	return nil
}

// BenchmarkPickUp is how long it takes from Submit of a task to a worker that waits for one, with
// nothing else to do for any of them.
func BenchmarkPickUp(b *testing.B) {
	s := startServer(b)
	from, to := open(b, "unix://"+s.socket), open(b, "unix://"+s.socket)
	times := make([]time.Duration, 0, b.N)
	for b.Loop() {
		taken := make(chan error, 1)
		go func() {
			ds, err := to.Take(b.Context(), "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute, Wait: time.Minute})
			if err == nil {
				_, err = to.Settle(b.Context(), "q", done(ds))
			}
			taken <- err
		}()
		awaitBlocked(s, 1)
		began := time.Now()
		if _, err := from.Submit(b.Context(), "q", []queue.Task{{ID: rand.Text(), Random: true}}); err != nil {
			b.Fatal(err)
		}
		if err := <-taken; err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
}

// usage reports what a benchmark has cost, in CPU time, which other loads of the machine change less than
// the time that it took.
func usage(b *testing.B, s *server) func() {
	client, server := cpu(b, os.Getpid()), cpu(b, s.cmd.Process.Pid)
	return func() {
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		b.ReportMetric(float64((cpu(b, os.Getpid())-client).Nanoseconds())/float64(b.N), "client-ns/task")
		b.ReportMetric(float64((cpu(b, s.cmd.Process.Pid)-server).Nanoseconds())/float64(b.N), "server-ns/task")
	}
}

// cpu is the CPU time of a process.
func cpu(b *testing.B, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("there is no /proc")
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')'):]))
	user, _ := strconv.Atoi(fields[12])
	system, _ := strconv.Atoi(fields[13])
	return time.Duration(user+system) * 10 * time.Millisecond // in ticks, of which there are 100 a second
}

// BenchmarkRaw is what a stream can do with the same client: pipelined XADD, XREADGROUP, XACK and
// XDEL of batches, with a topic to which the batch's outcomes are added; nothing is checked or kept.
func BenchmarkRaw(b *testing.B) {
	for _, batch := range []int{100, 500} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			s := startServer(b)
			c, err := rueidis.NewClient(rueidis.ClientOption{
				InitAddress: []string{s.socket}, DialCtxFn: dialUnix, ForceSingleClient: true, DisableCache: true,
			})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			s.must("XGROUP", "CREATE", "q", "g", "$", "MKSTREAM")
			raw := &rawStream{b: b, c: c, batch: batch}
			b.ResetTimer()
			report := usage(b, s)
			raw.run()
			report()
		})
	}
}

type rawStream struct {
	b     *testing.B
	c     rueidis.Client
	batch int
}

func (r *rawStream) run() {
	window, done := make(chan struct{}, max(4, 4000/r.batch)), make(chan error, 2)
	ctx := context.Background()
	go func() { done <- r.submit(ctx, window) }()
	go func() { done <- r.work(ctx, window) }()
	for range 2 {
		if err := <-done; err != nil {
			r.b.Fatal(err)
		}
	}
}

func (r *rawStream) submit(ctx context.Context, window chan<- struct{}) error {
	body := string(bytes.Repeat([]byte{'x'}, 64))
	for left := r.b.N; left > 0; left -= r.batch {
		window <- struct{}{}
		cmds := make(rueidis.Commands, 0, r.batch)
		for range r.batch {
			cmds = append(cmds, r.c.B().Xadd().Key("q").Id("*").FieldValue().FieldValue("i", rand.Text()).FieldValue("b", body).Build())
		}
		for _, answer := range r.c.DoMulti(ctx, cmds...) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rawStream) work(ctx context.Context, window <-chan struct{}) error {
	done := 0
	for heard := 0; done < r.b.N; {
		streams, err := r.c.Do(ctx, r.c.B().Xreadgroup().Group("g", "w").Count(int64(r.batch)).Block(1000).Streams().Key("q").Id(">").Build()).AsXRead()
		if err != nil {
			return err
		}
		ids := make([]string, 0, r.batch)
		topic := r.c.B().Xadd().Key("c").Maxlen().Almost().Threshold("1000").Id("*").FieldValue()
		for _, e := range streams["q"] {
			ids = append(ids, e.ID)
			topic = topic.FieldValue(e.FieldValues["i"], strconv.Itoa(len(ids)))
		}
		for _, answer := range r.c.DoMulti(ctx, topic.Build(), r.c.B().Xack().Key("q").Group("g").Id(ids...).Build(), r.c.B().Xdel().Key("q").Id(ids...).Build()) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
		for done += len(ids); heard+r.batch <= done; heard += r.batch {
			<-window
		}
	}
	return nil
}
