package chaos_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/afar-go/afar/queue"
)

// everysec is how much a redis-server that is killed may lose, which writes to its file as it goes,
// but not while it waits for the disk, for at most two seconds.
const everysec = 2 * time.Second

// delayed is how late something may be written down that was true before a server was killed, on a
// machine that has much else to do.
const delayed = 5 * time.Second

func readEffects(path string, all map[string][]effect) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		var e effect
		if _, err := fmt.Sscanln(line, &e.Task, &e.Attempt, &e.Token, &e.PID, &e.At); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		all[e.Task] = append(all[e.Task], e)
	}
	return nil
}

// losable tells whether the server may have lost what was at a time.
func (l *ledger) losable(at time.Time) bool {
	for _, o := range l.server.outages {
		if at.After(o.down.Add(-everysec)) && at.Before(o.up.Add(delayed)) {
			return l.server.lossy
		}
	}
	return false
}

// check accounts for every task.
func (l *ledger) check() {
	ctx := within(l.t)
	at := l.checkAccepted()
	for _, id := range l.again {
		if !l.losable(at[id]) {
			l.t.Errorf("%s was accepted at %v, and the queue did not know it any more; the server was killed at %v", id, at[id], l.server.outages)
		}
	}
	var ids []string
	for n := range l.n {
		ids = append(ids, taskID(n))
	}
	states := l.states(ctx, ids)
	proofs := l.proofs(ctx)
	for _, id := range l.twice {
		if !l.losable(l.heard[id]) {
			l.t.Errorf("the client was told the end of %s twice, first at %v; the server was killed at %v", id, l.heard[id], l.server.outages)
		}
	}
	if len(l.untold) > 0 && !l.server.lossy {
		l.t.Errorf("the client was not told the ends of %v", l.untold)
	}
	all, more, spare, revised := l.effects(), 0, 0, 0
	for n := range l.n {
		id := taskID(n)
		state, effects := states[id], all[id]
		delete(all, id)
		if string(state.Outcome) != string(l.outcomes[id]) {
			revised++
			if !l.losable(l.heard[id]) {
				l.t.Errorf("%s: the outcome is not the one that the client was told", id)
			}
		}
		l.checkProof(n, proofs[id], state, effects)
		l.checkEffects(state, effects)
		more += len(effects) - 1
		spare += state.Attempt - len(effects)
	}
	for id := range all {
		l.t.Errorf("%s was run, and never submitted", id)
	}
	l.t.Logf("%d tasks: accepted and lost %d, told twice %d, not told %d, told another outcome %d; side effects beyond the first %d; attempts without one %d",
		l.n, len(l.again), len(l.twice), len(l.untold), revised, more, spare)
	l.checkEnd(ctx)
}

// checkAccepted checks that every task was accepted, and returns when.
func (l *ledger) checkAccepted() map[string]time.Time {
	all := map[string]time.Time{}
	for i := range submitters {
		there, err := accepted(l.dir, i*(l.n/submitters))
		must(l.t, err)
		for n, at := range there {
			all[taskID(n)] = at
		}
	}
	if len(all) != l.n {
		l.t.Errorf("%d tasks were accepted", len(all))
	}
	return all
}

// states asks what the queue knows of all tasks.
func (l *ledger) states(ctx context.Context, ids []string) map[string]queue.TaskState {
	all := map[string]queue.TaskState{}
	for chunk := range slices.Chunk(ids, 500) {
		report, err := l.broker.Inspect(ctx, l.queue.Name(), queue.Query{IDs: chunk, Limit: len(chunk)})
		must(l.t, err)
		for _, s := range report.Tasks {
			if s.State != queue.StateDone {
				l.t.Errorf("%s is %v: %.200q", s.ID, s.State, s.Outcome)
			}
			all[s.ID] = s
		}
	}
	return all
}

// proofs looks every outcome up, as a program does which has nothing but the ID.
func (l *ledger) proofs(ctx context.Context) map[string]proof {
	all := map[string]proof{}
	var mu sync.Mutex
	var looking sync.WaitGroup
	next := make(chan int)
	for range abreast {
		looking.Go(func() {
			for n := range next {
				p, done, err := queue.Lookup[proof](l.queue, taskID(n)).Check(ctx)
				if !done || err != nil {
					l.t.Errorf("%s: %v, %v", taskID(n), done, err)
				}
				mu.Lock()
				all[taskID(n)] = p
				mu.Unlock()
			}
		})
	}
	for n := range l.n {
		next <- n
	}
	close(next)
	looking.Wait()
	return all
}

// checkProof checks that an outcome is the task's own, and comes from one of its attempts.
func (l *ledger) checkProof(n int, p proof, s queue.TaskState, effects []effect) {
	if p.Task != s.ID || p.Square != n*n || n%250 == 9 != (len(p.Pad) > 0) || len(p.Pad) > 2 && int(p.Pad[0])+int(p.Pad[1])<<8+int(p.Pad[2])<<16 != n {
		l.t.Errorf("%s: the outcome is %.200v", s.ID, p)
	}
	if !slices.ContainsFunc(effects, func(e effect) bool { return e.Token == p.Token && e.PID == p.PID && e.Attempt == p.Attempt }) {
		l.t.Errorf("%s: the outcome %.200v is of none of its attempts: %v", s.ID, p, effects)
	}
}

// checkEffects checks that there are no more side effects than attempts, but for attempts that the
// server has lost, and that each attempt has a higher token than those before it.
func (l *ledger) checkEffects(s queue.TaskState, effects []effect) {
	slices.SortFunc(effects, func(a, b effect) int { return cmp.Or(cmp.Compare(a.Token, b.Token), cmp.Compare(a.At, b.At)) })
	certain := 0
	for i, e := range effects {
		lost := l.losable(time.UnixMicro(e.At))
		if !lost {
			certain++
		}
		if i == 0 {
			continue
		}
		before := effects[i-1]
		lost = lost || l.losable(time.UnixMicro(before.At))
		if e.Token == before.Token {
			l.t.Errorf("%s: two attempts have one token: %v", s.ID, effects)
		}
		if e.Attempt < before.Attempt || e.Attempt == before.Attempt && !lost {
			l.t.Errorf("%s: an attempt has a higher token than one after it: %v; the server was killed at %v", s.ID, effects, l.server.outages)
		}
	}
	if certain > s.Attempt {
		l.t.Errorf("%s: %d attempts, and the side effects %v; the server was killed at %v", s.ID, s.Attempt, effects, l.server.outages)
	}
}

// checkEnd checks that nothing is left, when the workers have gone.
func (l *ledger) checkEnd(ctx context.Context) {
	for _, w := range l.workers {
		w.end(l.t)
	}
	stats, err := l.queue.Stats(ctx)
	must(l.t, err)
	if stats.Waiting+stats.Delayed+stats.Running+stats.Dead+stats.Failed+stats.Canceled != 0 {
		l.t.Errorf("at the end: %+v", stats)
	}
	if !l.server.lossy && stats.Done != int64(l.n) {
		l.t.Errorf("%d were done", stats.Done)
	}
	empty(l.t, l.tmp)
}
