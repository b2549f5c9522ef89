package redisq_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/redisq"
)

func TestURLsThatAreRefused(t *testing.T) {
	for _, c := range []struct{ url, says string }{
		{"redis://u:se cret@h", "cannot be parsed"},
		{"http://u:secret@h", "scheme"},
		{"redis://u:secret@h?prefx=a", "prefx"},
		{"redis://u:secret@h/first", "number of a database"},
		{"redis://u:secret@h/-1", "number of a database"},
		{"redis://h?db=x", "db is"},
		{"redis://h?prefix=a{b", "prefix"},
		{"redis://h?prefix=", "prefix"},
		{"redis://h?prefix=a&prefix=b", "2 times"},
		{"redis://h?addr=i", "several addresses"},
		{"redis://h?cluster=maybe", "cluster"},
		{"redis://h?cluster=true&master_set=m", "exclude"},
		{"redis://h/1?cluster=true", "cluster"},
		{"redis://h?ca=x", "rediss"},
		{"rediss://h?ca=/nowhere/ca", "/nowhere/ca"},
		{"rediss://h?cert=x", "cert and key"},
		{"rediss://h?cert=/nowhere/c&key=/nowhere/k", "/nowhere/c"},
		{"rediss://h?skip_verify=perhaps", "skip_verify"},
		{"unix://relative", "absolute path"},
		{"redis://h?%zz", "parameters"},
	} {
		_, err := redisq.Open(t.Context(), c.url)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s gives %v, which does not say %q", c.url, err, c.says)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "cret@")) {
			t.Errorf("the error has the password: %v", err)
		}
	}
}

func TestOpenWithoutServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := l.Addr().String()
	_ = l.Close()
	_, err = redisq.Open(t.Context(), "redis://u:secret@"+to)
	if err == nil || !strings.Contains(err.Error(), to) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Open gives %v", err)
	}
}

func TestOpenHeedsItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // which never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := redisq.Open(ctx, "redis://"+l.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open gives %v", err)
	}
}

func TestPasswords(t *testing.T) {
	s := startServer(t)
	s.must("ACL", "SETUSER", "afar", "on", ">p%40", "~afar:*", "+@all")
	s.must("ACL", "SETUSER", "other", "on", ">p", "~other:*", "+@all")
	s.must("ACL", "SETUSER", "reader", "on", ">p", "~afar:*", "+@read", "+@connection", "+info")
	s.must("CONFIG", "SET", "requirepass", "secret")
	p := startProxy(t, s.socket)
	use := func(b *redisq.Broker) error {
		_, err := b.Submit(t.Context(), "q", []queue.Task{{ID: "t"}})
		return err
	}
	if err := use(open(t, "redis://:secret@"+p.address())); err != nil {
		t.Error(err)
	}
	if err := use(open(t, "redis://afar:p%2540@"+p.address())); err != nil {
		t.Error(err)
	}
	if err := use(open(t, "unix://other:p@"+s.socket+"?prefix=other")); err != nil {
		t.Error(err)
	}
	for url, says := range map[string]string{
		"redis://:wrong-secret@" + p.address(): "WRONGPASS",
		"redis://" + p.address():               "NOAUTH",
		"redis://other:p@" + p.address():       "NOPERM",
	} {
		if _, err := redisq.Open(t.Context(), url); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "wrong-secret") {
			t.Errorf("Open of %s gives %v", url, err)
		}
	}
	if err := use(open(t, "redis://reader:p@"+p.address())); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("Submit of one who may only read gives %v", err)
	}
}

func TestDatabaseAndPrefix(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.socket)
	urls := []string{"redis://" + p.address(), "redis://" + p.address() + "/3", "redis://" + p.address() + "?db=3&prefix=x", "unix://" + s.socket + "?db=4"}
	for i, url := range urls {
		b := open(t, url)
		known, err := b.Submit(t.Context(), "q", []queue.Task{{ID: "t"}})
		if err != nil || known[0] {
			t.Errorf("store %d: Submit gives %v, %v", i, known, err)
		}
		report, err := b.Inspect(t.Context(), "q", queue.Query{Queues: true, Stats: true})
		if err != nil || len(report.Queues) != 1 || report.Stats.Waiting != 1 {
			t.Errorf("store %d: Inspect gives %+v, %v", i, report, err)
		}
	}
	if n := s.must("DBSIZE"); n == ":0" {
		t.Error("nothing is in database 0")
	}
}

// TestClose ends everything that waits, and leaves nothing.
func TestClose(t *testing.T) {
	s := startServer(t)
	b := open(t, "unix://"+s.socket)
	if _, err := b.Submit(t.Context(), "q", []queue.Task{{ID: "t", Delay: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 4)
	go func() {
		_, err := b.Take(t.Context(), "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Second, Wait: time.Hour})
		ended <- err
	}()
	for _, topic := range []queue.Topic{{}, {Client: "c"}, {Task: "t"}} {
		go func() {
			_, _, err := b.Follow(t.Context(), "q", topic, "", time.Hour)
			ended <- err
		}()
	}
	awaitBlocked(s, 4)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := <-ended; !errors.Is(err, queue.ErrClosed) {
			t.Errorf("who waits gets %v", err)
		}
	}
	if _, err := b.Submit(t.Context(), "q", nil); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Submit after Close gives %v", err)
	}
	if _, err := b.Blobs("q").Keep(t.Context(), strings.Repeat("0", 64), 0); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Keep after Close gives %v", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("a second Close gives %v", err)
	}
}

// TestCloseOfAServerThatHangs does not wait for it.
func TestCloseOfAServerThatHangs(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.socket)
	b := open(t, "redis://"+p.address())
	p.stalled.Store(true)
	ended := make(chan error, 1)
	go func() {
		_, err := b.Submit(t.Context(), "q", []queue.Task{{ID: "t"}})
		ended <- err
	}()
	began := time.Now()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Submit gives %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
}

// TestContextEndsAMethodThatCannotReachItsServer, at its time, and the error says so.
func TestContextEndsAMethodThatCannotReachItsServer(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.socket)
	b := open(t, "redis://"+p.address())
	for _, hurt := range []func(){func() { p.stalled.Store(true) }, func() { s.stop(9); p.drop() }} {
		hurt()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		began := time.Now()
		_, err := b.Submit(ctx, "the-queue", []queue.Task{{ID: "t"}})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the-queue") {
			t.Errorf("Submit gives %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	}
}

// TestTakeThatIsGivenUpLosesNoLease: what the server has leased is returned, though the context has ended.
func TestTakeThatIsGivenUpLosesNoLease(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.socket)
	b := open(t, "redis://"+p.address())
	for range 20 {
		if _, err := b.Submit(t.Context(), "q", []queue.Task{{ID: "t"}}); err != nil {
			t.Fatal(err)
		}
		p.slow(5 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Millisecond)
		ds, err := b.Take(ctx, "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Hour})
		cancel()
		p.slow(0)
		if err != nil { // it had not asked yet
			ds, err = b.Take(t.Context(), "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Hour})
		}
		if err != nil || len(ds) != 1 {
			t.Fatalf("Take gives %v, %v", ds, err)
		}
		if _, err := b.Settle(t.Context(), "q", done(ds)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestServerErrorsThatLast are returned at once.
func TestServerErrorsThatLast(t *testing.T) {
	s := startServer(t)
	b := open(t, "unix://"+s.socket)
	if _, err := b.Submit(t.Context(), "q", []queue.Task{{ID: "stored"}}); err != nil {
		t.Fatal(err)
	}
	s.must("CONFIG", "SET", "maxmemory", "1")
	if _, err := b.Submit(t.Context(), "q", []queue.Task{{ID: "t"}}); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("Submit to a server without memory gives %v", err)
	}
	// What is there can be taken and settled, which makes room.
	ds, err := b.Take(t.Context(), "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute})
	if err != nil || len(ds) != 1 {
		t.Fatalf("Take gives %v, %v", ds, err)
	}
	if _, err := b.Settle(t.Context(), "q", done(ds)); err != nil {
		t.Error(err)
	}
	s.must("CONFIG", "SET", "maxmemory", "0")
	if _, err := b.Submit(t.Context(), "q", []queue.Task{{ID: "t"}}); err != nil {
		t.Error(err)
	}
}

// TestServerWithoutStreams is refused.
func TestServerWithoutStreams(t *testing.T) {
	s := startServer(t, "--rename-command", "XLEN", "")
	if _, err := redisq.Open(t.Context(), "unix://"+s.socket); err == nil || !strings.Contains(err.Error(), "streams") {
		t.Errorf("Open gives %v", err)
	}
}

// TestScriptsAreSentAgain to a server that has forgotten them.
func TestScriptsAreSentAgain(t *testing.T) {
	s := startServer(t)
	b := open(t, "unix://"+s.socket)
	for _, id := range []string{"a", "b"} {
		if _, err := b.Submit(t.Context(), "q", []queue.Task{{ID: id}}); err != nil {
			t.Fatal(err)
		}
		s.must("SCRIPT", "FLUSH")
	}
}
