package node_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/node"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
	"github.com/afar-go/afar/trust"
)

var whereTask = afar.Func(whereTaskFunc)

// stop is where a task runs.
type stop struct {
	PID  int
	Dir  string
	Task queue.Running
}

func whereTaskFunc(ctx context.Context, _ int) (s stop, err error) {
	s.PID = os.Getpid()
	s.Dir, err = os.Getwd()
	s.Task, _ = queue.Current(ctx)
	return s, err
}

// newQueueSite is a site whose node works for a queue.
func newQueueSite(t *testing.T, options string, adjust ...func(*node.Config)) (*site, *queue.Queue) {
	b := memq.New()
	t.Cleanup(func() { must(t, b.Close()) })
	q := queue.New(b, "sums")
	s := newSite(t, options, append(adjust, func(c *node.Config) { c.Queues, c.QueueWorkers = []*queue.Queue{q}, 2 })...)
	return s, q
}

// signed is the queue for tasks that a key has signed.
func signed(q *queue.Queue, key *trust.Key) *queue.Queue {
	return q.Sign(queue.Signing{Key: key, Images: images()})
}

// A node that has never seen a program runs its tasks, in workers of their own, and keeps
// them for the next task.
func TestQueue(t *testing.T) {
	s, q := newQueueSite(t, "")
	q = signed(q, s.callerKey)
	first, err := whereTask.On(q)(within(t), 1)
	must(t, err)
	if first.PID == os.Getpid() || first.Task.Queue != "sums" || !strings.HasPrefix(first.Dir, s.dir) {
		t.Errorf("it ran at %+v", first)
	}
	s.log.wait(t, 1, "image kept")
	s.log.wait(t, 1, "caller in", s.callerKey.Public().Fingerprint(), "queue")
	r, err := queue.Submit(within(t), q, whereTask, 1)
	must(t, err)
	second, err := r.Wait(within(t))
	must(t, err)
	if second.Task.ID != r.ID() {
		t.Errorf("%+v", second)
	}
	s.log.wait(t, 2, "worker started")
}

// Who is not known, or not for this, is refused, which can be seen at both ends.
func TestQueueRefuses(t *testing.T) {
	s, plain := newQueueSite(t, `queues="others"`)
	stranger := s.newKey("stranger")
	revoked, commander := s.newKey("revoked"), s.newKey("commander")
	must(t, s.authorized.Append(trust.Grant{Key: revoked.Public(), Revoked: true}))
	must(t, s.authorized.Append(trust.Grant{Key: commander.Public()}))
	for name, c := range map[string]struct {
		q    *queue.Queue
		want string
	}{
		"unsigned":      {plain, "it is not signed"},
		"stranger":      {signed(plain, stranger), "the key is not authorised"},
		"revoked":       {signed(plain, revoked), "revoked"},
		"another queue": {signed(plain, s.callerKey), "may not use the queue sums"},
	} {
		r, err := queue.Submit(within(t), c.q, whereTask, 1)
		must(t, err)
		if _, err := r.Wait(within(t)); !errors.Is(err, queue.ErrUnauthorized) || !errors.Is(err, queue.ErrDead) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		s.log.wait(t, 1, "task refused", r.ID())
	}
	r, err := queue.Submit(within(t), signed(plain, commander), queue.RunCommand, queue.Command{Path: "true"})
	must(t, err)
	if _, err := r.Wait(within(t)); !errors.Is(err, queue.ErrUnauthorized) || !strings.Contains(err.Error(), "may not run commands") {
		t.Errorf("command: %v", err)
	}
}

// A command runs for whom it is allowed, as this caller.
func TestQueueCommand(t *testing.T) {
	s, q := newQueueSite(t, "commands")
	out, err := queue.RunCommand.On(signed(q, s.callerKey))(within(t), queue.Command{Path: "sh", Args: []string{"-c", "pwd; exit 3"}})
	must(t, err)
	if out.ExitCode != 3 || !strings.HasPrefix(string(out.Stdout), s.dir) {
		t.Errorf("%+v", out)
	}
}

// A task that was altered on its way is refused.
func TestQueueAltered(t *testing.T) {
	s, _ := newQueueSite(t, "")
	_ = s
	b := &forger{Broker: memq.New()}
	t.Cleanup(func() { must(t, b.Broker.(*memq.Broker).Close()) })
	q := queue.New(b, "forged")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Work(ctx, queue.WorkConfig{}) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	if _, err := whereTask.On(signed(q, s.callerKey))(within(t), 1); !errors.Is(err, queue.ErrUnauthorized) || !strings.Contains(err.Error(), "altered") {
		t.Errorf("%v", err)
	}
}

// forger is a broker that changes what it is given.
type forger struct{ queue.Broker }

func (f *forger) Submit(ctx context.Context, name string, tasks []queue.Task) ([]bool, error) {
	for i := range tasks {
		body := append([]byte(nil), tasks[i].Body...)
		body[len(body)-1]++
		tasks[i].Body = body
	}
	return f.Broker.Submit(ctx, name, tasks)
}
