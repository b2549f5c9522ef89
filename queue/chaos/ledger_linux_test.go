package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
)

// crew is how many there are.
const (
	submitters = 2
	crew       = 3
	lease      = time.Second
)

// ledger is all that is known of the tasks of a test.
type ledger struct {
	*stage
	server *server
	broker broker
	queue  *queue.Queue
	n      int
	seed   uint64
	random *rand.Rand

	workers []*process
	serial  int
	slots   sync.WaitGroup // submitters

	outcomes map[string][]byte    // by ID, as the client's topic had them last
	heard    map[string]time.Time // when it had them first
	twice    []string             // whose end the client was told again
	untold   []string             // that have ended without telling the client
	again    []string             // that the broker had accepted, and did not know later
	killed   map[string]int
}

// Submitters, workers and the server are killed again and again, with SIGKILL. Every task that was
// accepted has one outcome, its own; and its attempts are accounted for.
func TestLedger(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t, kind)
			l.play()
			l.check()
		})
	}
}

// number is one from the environment.
func number(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

func newLedger(t testing.TB, kind string) *ledger {
	l := &ledger{stage: newStage(t), outcomes: map[string][]byte{}, heard: map[string]time.Time{}, killed: map[string]int{}}
	l.n = number(t, tasksVariable, 3000)
	l.seed = uint64(number(t, "AFAR_CHAOS_SEED", int(time.Now().UnixNano()&0xffffff)))
	t.Logf(tasksVariable+"=%d AFAR_CHAOS_SEED=%d", l.n, l.seed)
	l.random = rand.New(rand.NewPCG(l.seed, 1))
	l.server = startServer(l.stage, kind)
	l.broker = l.server.broker()
	l.queue = queue.New(addressed{l.broker}, "ledger")
	return l
}

// worker starts one.
func (l *ledger) worker() *process {
	l.serial++
	return l.stage.play(part{Role: "worker", Name: fmt.Sprint("w", l.serial), URL: l.server.url(), Queue: "ledger", Lease: lease}, nil)
}

// submitter is one of those who submit, killed after so many tasks were accepted from it, each
// time another takes its place.
func (l *ledger) submitter(from, to int, kills []int) {
	start := func(each func(string)) *process {
		return l.stage.play(part{Role: "submitter", Name: fmt.Sprint(from), URL: l.server.url(), Queue: "ledger", Dir: l.dir, From: from, To: to}, each)
	}
	for done := 0; len(kills) > 0; kills = kills[1:] {
		ready := make(chan struct{}, 1)
		p := start(func(string) {
			if done++; done == kills[0] {
				ready <- struct{}{}
			}
		})
		select {
		case <-ready:
		case <-p.gone:
		}
		if p.kill() {
			continue
		}
		if !p.cmd.ProcessState.Success() {
			l.t.Errorf("%s: %v: %s", p.name, p.cmd.ProcessState, p.said())
		}
		return
	}
	p := start(nil)
	<-p.gone
	if !p.cmd.ProcessState.Success() {
		l.t.Errorf("%s: %v: %s", p.name, p.cmd.ProcessState, p.said())
	}
}

// draw draws k numbers below n, in order.
func (l *ledger) draw(k, n int) []int {
	all := make([]int, k)
	for i := range all { // spread, each somewhere in its part
		all[i] = n*i/k + l.random.IntN(max(1, n/k))
	}
	slices.Sort(all)
	return all
}

// play has everything happen, until all tasks have ended.
func (l *ledger) play() {
	began := time.Now()
	part := l.n / submitters
	for i := range submitters {
		from, to := i*part, (i+1)*part
		if i == submitters-1 {
			to = l.n
		}
		kills := l.draw(2+l.n/8000, to-from)
		l.slots.Go(func() { l.submitter(from, to, kills) })
		l.killed["submitters"] += len(kills)
	}
	for range crew {
		l.workers = append(l.workers, l.worker())
	}
	workers, servers := l.draw(12+l.n/1000, l.n*9/10), l.draw(3+l.n/10000, l.n*9/10)
	l.killed["workers"], l.killed["servers"] = len(workers), len(servers)
	submitted := make(chan struct{})
	go func() {
		l.slots.Wait()
		close(submitted)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience+time.Duration(l.n)*10*time.Millisecond)
	defer cancel()
	for cursor := queue.Cursor(""); len(l.outcomes) < l.n; {
		events, next, err := l.broker.Follow(ctx, "ledger", queue.Topic{Client: client}, cursor, time.Second)
		if err != nil {
			l.t.Fatalf("%d of %d tasks have ended: %v", len(l.outcomes), l.n, err)
		}
		cursor = next
		now := time.Now() // the server may be killed before all of them are heard
		for _, e := range events {
			l.hear(e, now)
			for len(workers) > 0 && len(l.outcomes) >= workers[0] {
				workers = workers[1:]
				l.replace(l.random.IntN(crew))
			}
			for len(servers) > 0 && len(l.outcomes) >= servers[0] {
				servers = servers[1:]
				l.server.kill()
			}
		}
		select {
		case <-submitted:
			if len(events) == 0 {
				l.reconcile(ctx, cursor)
			}
		default:
		}
	}
	<-submitted
	l.t.Logf("%s: %d tasks in %v; killed: %v", l.server.kind, l.n, time.Since(began).Round(time.Millisecond), l.killed)
}

// replace kills a worker, and starts another.
func (l *ledger) replace(i int) {
	if !l.workers[i].kill() {
		l.t.Errorf("%s had ended by itself: %v: %s", l.workers[i].name, l.workers[i].cmd.ProcessState, l.workers[i].said())
	}
	l.workers[i] = l.worker()
}

// hear takes what the client is told.
func (l *ledger) hear(e queue.Event, at time.Time) {
	if l.outcomes[e.ID] == nil {
		l.heard[e.ID] = at
	} else {
		l.twice = append(l.twice, e.ID)
	}
	l.outcomes[e.ID] = e.Data
}

// reconcile does, when the client has not been told anything for a while, what somebody does who keeps
// book of what was accepted: what the queue does not know is submitted again.
func (l *ledger) reconcile(ctx context.Context, cursor queue.Cursor) {
	for chunk := range slices.Chunk(l.missing(), 500) {
		report, err := l.broker.Inspect(ctx, "ledger", queue.Query{IDs: chunk, Limit: len(chunk)})
		must(l.t, err)
		for _, s := range report.Tasks {
			switch {
			case s.State == queue.StateUnknown:
				var n int
				_, err := fmt.Sscanf(s.ID, "task-%d", &n)
				must(l.t, err)
				must(l.t, submit(ctx, l.queue, l.dir, n))
				l.again = append(l.again, s.ID)
			case s.State.Ended():
				events, _, err := l.broker.Follow(ctx, "ledger", queue.Topic{Client: client}, cursor, 0)
				must(l.t, err)
				if !slices.ContainsFunc(events, func(e queue.Event) bool { return e.ID == s.ID }) {
					l.untold = append(l.untold, s.ID)
					l.outcomes[s.ID] = s.Outcome
				}
			}
		}
	}
}

// missing are the tasks whose outcome is not known.
func (l *ledger) missing() (ids []string) {
	for n := range l.n {
		if id := taskID(n); l.outcomes[id] == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// effects reads what all attempts have left behind.
func (l *ledger) effects() map[string][]effect {
	files, err := filepath.Glob(filepath.Join(l.dir, "effects-*"))
	must(l.t, err)
	all := map[string][]effect{}
	for _, path := range files {
		must(l.t, readEffects(path, all))
	}
	return all
}
