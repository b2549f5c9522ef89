package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
	"github.com/afar-go/afar/trust"
)

// Functions of tasks.
var (
	describe = afar.NamedFunc("test/describe", func(_ context.Context, n int) (description, error) {
		return description{N: n, Text: []byte("text"), Bytes: []byte{0xff, 0}, ByNumber: map[int]string{n: "n"}}, nil
	})
	fail = afar.NamedFunc("test/fail", func(_ context.Context, why string) (int, error) { return 0, errors.New(why) })
	chat = afar.NamedFunc("test/chat", func(ctx context.Context, n int) (int, error) {
		for i := range n {
			afar.Logger(ctx).Warn("a line", "i", i)
		}
		return n, nil
	})
	block = afar.NamedFunc("test/block", func(ctx context.Context, _ int) (int, error) {
		afar.Logger(ctx).Info("begun")
		<-ctx.Done()
		return 0, context.Cause(ctx)
	})
)

type description struct {
	N        int
	Text     []byte
	Bytes    []byte
	ByNumber map[int]string
}

// inMemory is a broker that command lines of this process reach as mem://here.
func inMemory(t *testing.T) string {
	b := memq.New()
	brokers["mem"] = func(context.Context, string) (opened, error) { return lasting{b}, nil }
	t.Cleanup(func() {
		delete(brokers, "mem")
		_ = b.Close()
	})
	return "mem://here"
}

// lasting is a broker that is not closed by those who use it.
type lasting struct{ *memq.Broker }

func (lasting) Close() error { return nil }

// missing skips a test, but not where everything has to be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what, "is missing")
	}
	t.Skip(what, "is missing")
}

// onRedisServer starts a Redis server of the test's own.
func onRedisServer(t *testing.T) string {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		missing(t, "redis-server")
	}
	dir, err := os.MkdirTemp("", "afar-redis-") // a short name: it is one of a socket
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cmd := exec.Command(path, "--port", "0", "--unixsocket", filepath.Join(dir, "s"), "--save", "", "--dir", dir, "--requirepass", "s3cret-word")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for lines.Scan() {
			continue
		}
		_ = cmd.Wait()
	})
	for lines.Scan() {
		if strings.Contains(strings.ToLower(lines.Text()), "ready to accept connections") {
			return "unix://:s3cret-word@" + filepath.Join(dir, "s")
		}
	}
	t.Fatal("redis-server has ended")
	return ""
}

// onBroker starts an afar broker, and returns the URL that it says.
func onBroker(t *testing.T) string {
	return start(t, nil, "broker", "-listen", "127.0.0.1:0", "-dir", filepath.Join(t.TempDir(), "broker")).line()
}

// stage is a queue and those who work for it.
type stage struct {
	t     *testing.T
	place *place
	queue *queue.Queue
}

// onStage makes a queue what command lines mean.
func onStage(t *testing.T, url string) *stage {
	t.Helper()
	home(t)
	t.Setenv(trust.KeyVariable, "")
	t.Setenv(queueVariable, url+"#thumbs")
	p, err := parsePlace(url + "#thumbs")
	must(t, err)
	b, err := p.open(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	return &stage{t, p, queue.New(b, p.name)}
}

// work serves the queue until the test ends.
func (s *stage) work() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.queue.Work(ctx, queue.WorkConfig{Concurrency: 4, Name: "worker", Commands: true}) }()
	s.t.Cleanup(func() {
		cancel()
		must(s.t, <-done)
	})
}

// types types a command line, which has to end with a code.
func (s *stage) types(code int, line string, more ...string) said {
	s.t.Helper()
	got := typed("", append(append([]string{"queue"}, strings.Fields(line)...), more...)...)
	if got.code != code {
		s.t.Errorf("afar queue %s: exit code %d, want %d: %s%s", line, got.code, code, got.out, got.errs)
	}
	if strings.Contains(got.out+got.errs, "s3cret") {
		s.t.Errorf("afar queue %s tells the password: %s%s", line, got.out, got.errs)
	}
	return got
}

// asks types a command line that answers with one object.
func asks[T any](s *stage, code int, line string) (answer T) {
	s.t.Helper()
	got := s.types(code, line+" --json")
	if err := json.Unmarshal([]byte(got.out), &answer); err != nil {
		s.t.Errorf("afar queue %s: %v: %s%s", line, err, got.out, got.errs)
	}
	return answer
}

// submitted is a task of a function.
func submitted[In, Out any](s *stage, f *afar.Function[In, Out], in In, options ...queue.SubmitOption) string {
	s.t.Helper()
	r, err := queue.Submit(s.t.Context(), s.queue, f, in, options...)
	must(s.t, err)
	return r.ID()
}

// onAll tells a story on every broker.
func onAll(t *testing.T, story func(*stage)) {
	for name, open := range map[string]func(*testing.T) string{"memory": inMemory, "redis": onRedisServer, "nats": onBroker} {
		t.Run(name, func(t *testing.T) { story(onStage(t, open(t))) })
	}
}

// A queue that nobody works for is looked at, and emptied.
func TestQueueWaits(t *testing.T) {
	onAll(t, func(s *stage) {
		contains(t, s.types(exitOK, "ls").out, "QUEUE")
		contains(t, s.types(exitUnknown, "stats").errs, `there is no queue "thumbs" at `+s.place.shown+"; it has none")
		contains(t, s.types(exitUnknown, "result a").errs, "there is no queue")
		contains(t, s.types(exitFailed, "submit --require-worker -- true").errs, "nobody listens")
		if id := s.types(exitOK, "submit -id a -- true").out; id != "a\n" {
			t.Errorf("its ID is %q", id)
		}
		if s.types(exitOK, "ls").out == "" {
			t.Error("ls says nothing")
		}
	})
}

// What people and machines are told of tasks that wait.
func TestQueueNumbers(t *testing.T) {
	onAll(t, func(s *stage) {
		s.types(exitOK, "submit -id a -- true")
		s.types(exitOK, "submit -id b -delay 1h -group g -priority high -env A=b,c -- true")
		n := asks[numbers](s, exitOK, "stats")
		if n.Queue != "thumbs" || n.Waiting != 1 || n.Delayed != 1 || n.Paused || n.Workers == nil || len(n.Workers) != 0 {
			t.Errorf("stats: %+v", n)
		}
		contains(t, s.types(exitOK, "ls "+s.place.url).out, "thumbs")
		if n := asks[numbers](s, exitOK, "ls"); n.Queue != "thumbs" {
			t.Errorf("ls: %+v", n)
		}
		contains(t, s.types(exitUnknown, "stats #thumb").errs, `there is no queue "thumb"`, "it has thumbs")
		contains(t, s.types(exitPending, "result a").out, "waiting", queue.RunCommand.Name())
		contains(t, s.types(exitPending, "result a -output").errs, "has not ended: it is waiting")
		if r := asks[taskJSON](s, exitPending, "result b"); r.State != "delayed" || r.Ended || r.Group != "g" || r.Priority != 1 || r.Submitted == nil {
			t.Errorf("result b: %+v", r)
		}
		contains(t, s.types(exitUnknown, "result c").errs, `has no task "c"`)
		contains(t, s.types(exitUnknown, "logs c").errs, `has no task "c"`)
		contains(t, s.types(exitOK, "pause").out, "is paused")
		if n := asks[numbers](s, exitOK, "stats"); !n.Paused {
			t.Errorf("it is not paused: %+v", n)
		}
		contains(t, s.types(exitOK, "stats").out, "afar queue resume")
		contains(t, s.types(exitOK, "ls").out, "paused")
		contains(t, s.types(exitOK, "resume").out, "again")
		if n := asks[numbers](s, exitOK, "watch -every 1ms -count 1"); n.Paused || n.Time == nil || n.Waiting != 1 {
			t.Errorf("watch: %+v", n)
		}
		if lines := strings.Count(s.types(exitOK, "watch -every 1ms -count 3 "+s.place.url).out, "thumbs"); lines != 3 {
			t.Errorf("%d lines of 3 times", lines)
		}
		contains(t, s.types(exitUnknown, "watch #nothing").errs, "there is no queue")
		contains(t, s.types(exitUnknown, "cancel a c").errs, `has no task "c"`)
		if r := asks[taskJSON](s, exitFailed, "result a"); r.State != "canceled" || r.Error == "" {
			t.Errorf("result a: %+v", r)
		}
		contains(t, s.types(exitOK, "purge").out, "1 task canceled")
		contains(t, s.types(exitFailed, "result b -wait -output").errs, "has ended canceled")
		contains(t, s.types(exitUnknown, "requeue a").errs, "no dead letter: it is canceled")
		contains(t, s.types(exitOK, "drop a b").out, "2 tasks dropped")
		s.types(exitUnknown, "result a")
	})
}

// Commands are run, and their ends become those of afar.
func TestQueueCommand(t *testing.T) {
	onAll(t, func(s *stage) {
		s.work()
		script := []string{"--", "sh", "-c", "cat; echo $A >&2; pwd; exit 7"}
		args := append([]string{"queue", "submit", "-wait", "-id", "a", "-stdin", "-", "-env", "A=b,c", "-dir", "/"}, script...)
		if got := typed("in ", args...); got != (said{7, "in /\n", "b,c\n"}) {
			t.Errorf("it has ended with %+v", got)
		}
		if got := s.types(7, "result -output a"); got != (said{7, "in /\n", "b,c\n"}) {
			t.Errorf("it has ended with %+v", got)
		}
		contains(t, s.types(exitOK, "result a").out, "exit code  7", "stdout     in /", "stderr     b,c", "worker")
		if c := asks[taskJSON](s, exitOK, "result a").Command; c == nil || c.ExitCode != 7 || c.Stdout != "in /\n" {
			t.Errorf("result a: %+v", c)
		}
		got := s.types(128+int(syscall.SIGKILL), "submit --wait --", "sh", "-c", "kill -9 $$")
		contains(t, got.errs, "signal: killed")
		if c := s.types(9, "submit --wait --json --", "sh", "-c", "exit 9"); !strings.Contains(c.out, `"exit_code":9`) {
			t.Errorf("it has ended with %+v", c)
		}
		contains(t, s.types(exitFailed, "submit --wait -- no-such-program-here").errs, "has ended", "no-such-program-here")
		contains(t, s.types(exitFailed, "submit --wait --timeout 50ms --", "sleep", "1000").errs, "has ended failed")
	})
}

// Outcomes of functions are shown without knowing their types.
func TestQueueResult(t *testing.T) {
	onAll(t, func(s *stage) {
		id := submitted(s, describe, 3)
		s.work()
		s.types(exitOK, "result -wait "+id)
		const want = `{"ByNumber":{"3":"n"},"Bytes":"/wA=","N":3,"Text":"text"}` + "\n"
		if got := s.types(exitOK, "result -output "+id).out; got != want {
			t.Errorf("its output is %s", got)
		}
		contains(t, s.types(exitOK, "result "+id).out, "test/describe", "done", strings.TrimSpace(want))
		id = submitted(s, fail, "bad\x1b[31m\nworse")
		s.types(exitFailed, "result -wait "+id)
		got := s.types(exitFailed, "result -output "+id)
		contains(t, got.errs, id, "failed", `bad\x1b[31m`)
		contains(t, s.types(exitFailed, "result "+id).out, `bad\x1b[31m`, "worse")
		if r := asks[taskJSON](s, exitFailed, "result "+id); !strings.Contains(r.Error, "bad\x1b[31m\nworse") || r.ErrorType == "" {
			t.Errorf("result: %+v", r)
		}
		contains(t, s.types(exitFailed, "cancel "+id).errs, "was not canceled: it has ended before, failed")
	})
}

// What tasks log is read while they run, and later.
func TestQueueLogs(t *testing.T) {
	onAll(t, func(s *stage) {
		s.work()
		id := submitted(s, chat, 3)
		followed := s.types(exitOK, "logs -f "+id).out
		if logged := s.types(exitOK, "logs "+id).out; logged != followed || strings.Count(logged, "level=WARN") != 3 {
			t.Errorf("first it says %s, then %s", followed, logged)
		}
		contains(t, followed, `level=WARN msg="a line" i=2 worker=worker attempt=1`)
		for line := range strings.Lines(s.types(exitOK, "logs -json "+id).out) {
			var rec struct {
				Time       time.Time
				Level, Msg string
				I, Attempt int
				Worker     string
			}
			must(t, json.Unmarshal([]byte(line), &rec))
			if rec.Level != "WARN" || rec.Msg != "a line" || rec.Attempt != 1 || rec.Worker != "worker" || rec.Time.IsZero() {
				t.Errorf("a record: %s", line)
			}
		}
	})
}

// A task that runs is canceled, and what it has logged is there before.
func TestQueueCancel(t *testing.T) {
	onAll(t, func(s *stage) {
		s.work()
		id := submitted(s, block, 0)
		for rec, err := range queue.Lookup[int](s.queue, id).Log(t.Context()) {
			must(t, err)
			if rec.Message == "begun" {
				break
			}
		}
		contains(t, s.types(exitOK, "logs "+id).out, "begun")
		if c := asks[canceled](s, exitOK, "cancel "+id); c.ID != id || c.State == "" {
			t.Errorf("cancel: %+v", c)
		}
		contains(t, s.types(exitFailed, "result --wait "+id).out, "canceled")
		contains(t, s.types(exitOK, "cancel "+id).out, "is canceled")
	})
}

// Dead letters are listed with the errors of their attempts, tried again, and dropped.
func TestQueueDead(t *testing.T) {
	onAll(t, func(s *stage) {
		s.work()
		ids := []string{submitted(s, fail, "no space", queue.MaxAttempts(2)), submitted(s, fail, "no luck", queue.MaxAttempts(2))}
		for _, id := range ids {
			s.types(exitFailed, "result --wait "+id)
		}
		contains(t, s.types(exitFailed, "result --output "+ids[0]).errs, "has ended dead", "no space")
		dead := s.types(exitOK, "dead").out
		contains(t, dead, ids[0], ids[1], "test/fail", "2 attempts", "on worker: ", "no space", "no luck")
		if n := strings.Count(dead, "no space"); n != 2 {
			t.Errorf("%d attempts of 2: %s", n, dead)
		}
		var listed []string
		for line := range strings.Lines(s.types(exitOK, "dead --json").out) {
			var l taskJSON
			must(t, json.Unmarshal([]byte(line), &l))
			if len(l.Attempts) != 2 || l.Attempts[1].Error == "" || l.Attempts[1].Worker != "worker" || l.State != "dead" {
				t.Errorf("a dead letter: %+v", l)
			}
			listed = append(listed, l.ID)
		}
		if slices.Sort(listed); !slices.Equal(listed, slices.Sorted(slices.Values(ids))) {
			t.Errorf("listed are %q, not %q", listed, ids)
		}
		contains(t, s.types(exitUnknown, "requeue nothing "+ids[0]).errs, `has no task "nothing"`)
		if n := asks[numbers](s, exitOK, "stats").Dead; n != 2 {
			t.Errorf("%d dead letters of 2: it has requeued one", n)
		}
		contains(t, s.types(exitOK, "requeue "+ids[0]).out, "1 task requeued")
		s.types(exitFailed, "result --wait "+ids[0])
		contains(t, s.types(exitOK, "requeue --all").out, "2 tasks requeued")
		for _, id := range ids {
			s.types(exitFailed, "result --wait "+id)
		}
		if n := asks[map[string]any](s, exitOK, "drop --all")["dropped"]; n != 2. {
			t.Errorf("%v dropped of 2", n)
		}
		if dead := s.types(exitOK, "dead").out; dead != "" {
			t.Errorf("there is left: %s", dead)
		}
	})
}
