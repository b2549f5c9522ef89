package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/afar-go/afar/internal/hosttest"
	"github.com/afar-go/afar/node"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/trust"
)

// beNode is what afar node does with --queue.
func beNode(ctx context.Context, p *part) error {
	key, err := trust.LoadKey(p.Key)
	if err != nil {
		return err
	}
	b, err := openBroker(ctx, p.URL)
	if err != nil {
		return err
	}
	n, err := node.Open(node.Config{Key: key, Authorized: p.Authorized, Dir: p.Dir, Log: slog.New(slog.NewTextHandler(os.Stdout, nil)),
		Queues: []*queue.Queue{queue.New(b, p.Queue)}, QueueWorkers: 2, NoControlGroups: true})
	if err != nil {
		return err
	}
	return errors.Join(n.Serve(ctx), n.Close(), b.Close())
}

// site is a queue in Redis with nodes that know one key, and a program that they have never seen:
// this one, built otherwise.
type site struct {
	*stage
	server     *server
	broker     broker
	authorized *trust.AuthorizedKeys
	key        *trust.Key // which the nodes know
	images     map[string]string
}

// image is this program as it can be run anywhere.
var image = sync.OnceValues(hosttest.Image)

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{stage: newStage(t)}
	s.server = startServer(s.stage, "redis")
	s.broker = s.server.broker()
	s.authorized = &trust.AuthorizedKeys{Path: filepath.Join(s.dir, "authorized_keys")}
	s.key = s.newKey("submitter")
	must(t, s.authorized.Append(trust.Grant{Key: s.key.Public()}))
	s.newKey("node")
	file, err := image()
	must(t, err)
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd())
	s.images = map[string]string{"linux/amd64": path, "linux/arm64": path}
	return s
}

func (s *site) newKey(name string) *trust.Key {
	s.t.Helper()
	key, err := trust.NewKey(name)
	must(s.t, err)
	must(s.t, key.Save(filepath.Join(s.dir, name)))
	return key
}

// node starts a node, and returns when it works for the queue.
func (s *site) node(name string) (*process, *lines) {
	s.t.Helper()
	said := newLines()
	p := s.play(part{Role: "node", Name: name, URL: s.server.url(), Queue: "orders", Dir: filepath.Join(s.dir, name),
		Key: filepath.Join(s.dir, "node"), Authorized: s.authorized.Path}, said.add)
	said.wait(s.t, "working for a queue")
	return p, said
}

// signed is the queue for tasks that a key has signed.
func (s *site) signed(b queue.Broker, key *trust.Key) *queue.Queue {
	return queue.New(b, "orders").Sign(queue.Signing{Key: key, Images: s.images})
}

// forger alters tasks on their way.
type forger struct{ queue.Broker }

func (f forger) Submit(ctx context.Context, name string, tasks []queue.Task) ([]bool, error) {
	for i := range tasks {
		tasks[i].Body = append([]byte(nil), tasks[i].Body...)
		tasks[i].Body[len(tasks[i].Body)-1]++
	}
	return f.Broker.Submit(ctx, name, tasks)
}

// A node runs the program of a key that it knows, and of nobody else. What it refuses can be seen
// there, by who has submitted it, and among the dead letters.
func TestNodeRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n, said := s.node("n")
	for name, c := range map[string]struct {
		q    *queue.Queue
		want string
	}{
		"unsigned": {queue.New(s.broker, "orders"), "it is not signed"},
		"altered":  {s.signed(forger{s.broker}, s.key), "altered"},
		"stranger": {s.signed(s.broker, s.newKey("stranger")), "the key is not authorised"},
	} {
		r, err := queue.Submit(within(t), c.q, chore, order{N: 2}, queue.ID(name))
		must(t, err)
		if _, err := r.Wait(within(t)); !errors.Is(err, queue.ErrUnauthorized) || !errors.Is(err, queue.ErrDead) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		said.wait(t, "task refused", "task="+name)
	}
	var dead []string
	for letter, err := range queue.New(s.broker, "orders").Dead(within(t)) {
		must(t, err)
		dead = append(dead, letter.ID)
		if !errors.Is(letter.Err, queue.ErrUnauthorized) {
			t.Errorf("the dead letter %s has %v", letter.ID, letter.Err)
		}
	}
	if len(dead) != 3 {
		t.Errorf("dead letters: %q", dead)
	}
	empty(t, filepath.Join(s.dir, "n", "images"))

	p, err := chore.On(s.signed(s.broker, s.key))(within(t), order{N: 7})
	must(t, err)
	said.wait(t, "image kept")
	if p.Square != 49 || !strings.HasPrefix(p.Program, filepath.Join(s.dir, "n")) {
		t.Errorf("it ran as %+v", p)
	}
	n.end(t)
	empty(t, s.tmp)
}

// A node is killed in the middle of the tasks that it alone works on, and another takes over.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	const from, to = 10, 210
	s := newSite(t)
	q := s.signed(addressed{s.broker}, s.key)
	gates := map[int]*gate{60: nil, 61: nil} // one for each of its workers
	for n := range gates {
		gates[n] = newGate(t, filepath.Join(s.dir, fmt.Sprint("gate-", n)))
	}
	for n := from; n < to; n++ {
		in := order{N: n, Dir: s.dir}
		if gates[n] != nil {
			in.Gate = filepath.Join(s.dir, fmt.Sprint("gate-", n))
		}
		_, err := queue.Submit(within(t), q, chore, in, queue.ID(taskID(n)))
		must(t, err)
	}
	first, _ := s.node("first")
	for _, g := range gates {
		g.await()
	}
	first.kill()
	l := &ledger{stage: s.stage, server: s.server, broker: s.broker, queue: q}
	for _, effects := range l.effects() {
		hosttest.Until(t, "the workers of the node that was killed are gone", func() bool {
			return errors.Is(syscall.Kill(effects[0].PID, 0), syscall.ESRCH)
		})
	}
	second, _ := s.node("second")
	var ids []string
	proofs := map[string]proof{}
	for n := from; n < to; n++ {
		p, err := queue.Lookup[proof](q, taskID(n)).Wait(within(t))
		must(t, err)
		proofs[taskID(n)] = p
		ids = append(ids, taskID(n))
	}
	states, effects := l.states(within(t), ids), l.effects()
	for n := from; n < to; n++ {
		id := taskID(n)
		l.checkProof(n, proofs[id], states[id], effects[id])
		l.checkEffects(states[id], effects[id])
		if in := filepath.Join(s.dir, "second"); gates[n] != nil && (states[id].Attempt != 2 || !strings.HasPrefix(proofs[id].Program, in)) {
			t.Errorf("%s, which the first node had, is %+v", id, proofs[id])
		}
	}
	if told := ends(t, q, s.broker); len(told) != len(ids) {
		t.Errorf("the client was told of %d ends", len(told))
	}
	second.end(t)
}
