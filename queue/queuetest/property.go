package queuetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/afar-go/afar/queue"
)

// compareWithModel does random things with a queue, one after the other, and compares
// each answer with that of a model.
func compareWithModel(t *testing.T, b *Backend) {
	rapid.Check(t, func(r *rapid.T) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		p := &pair{
			T: r, ctx: ctx, broker: b.Clients[0], other: b.Clients[1],
			queue: queueName("Model"), model: newModel(),
		}
		r.Repeat(map[string]func(*rapid.T){
			"submit": p.submit, "take": p.take, "settle": p.settle, "renew": p.renew, "change": p.change,
			"follow": p.follow, "topic": p.topic, "pages": p.pages, "": p.compare,
		})
	})
}

// pair is a broker's queue and its model.
type pair struct {
	*rapid.T
	ctx    context.Context
	broker queue.Broker
	other  queue.Broker
	queue  string
	model  *model
	leases []modelLease // all that were ever given

	cursor queue.Cursor // of the client's topic
	read   int          // of what the client was told
}

// id draws one of a few, so that they are often the same.
var id = rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("t", rapid.IntRange(1, 12).Draw(t, "id")) })

// check ends the test if there was an error.
func (p *pair) check(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *pair) submit(t *rapid.T) {
	var tasks []queue.Task
	for _, id := range rapid.SliceOfN(id, 1, 8).Draw(t, "ids") {
		one := queue.Task{ID: id, Body: fmt.Appendf(nil, "%s/%d", id, rapid.IntRange(0, 1000).Draw(t, "body"))}
		one.Priority = rapid.SampledFrom([]queue.Priority{queue.Normal, queue.Low, queue.High}).Draw(t, "priority")
		one.Group = rapid.SampledFrom([]string{"", "g", "h"}).Draw(t, "group")
		if rapid.Bool().Draw(t, "client") {
			one.Client = "c"
		}
		if rapid.Bool().Draw(t, "kept") {
			one.Retention = long
		}
		tasks = append(tasks, one)
	}
	known, err := p.broker.Submit(p.ctx, p.queue, tasks)
	p.check(t, err)
	for i, one := range tasks {
		if want := p.model.submit(one); known[i] != want {
			t.Fatalf("Submit tells of %v: %v; at %d it is to be %v", tasks, known, i, want)
		}
	}
}

func (p *pair) take(t *rapid.T) {
	limit := rapid.IntRange(1, 6).Draw(t, "max")
	got, err := p.other.Take(p.ctx, p.queue, queue.TakeRequest{Worker: "w", Max: limit, Lease: long})
	p.check(t, err)
	there := p.model.in(queue.StateWaiting)
	if p.model.paused {
		there = 0
	}
	if len(got) > min(there, limit) || there > 0 && len(got) == 0 {
		t.Fatalf("Take of at most %d of %d gives %v", limit, there, ids(got))
	}
	for _, d := range got {
		if err := p.model.take(d); err != nil {
			t.Fatalf("Take gives %v: %v", ids(got), err)
		}
		p.leases = append(p.leases, modelLease{lease(d), p.model.tasks[d.ID]})
	}
}

// lease draws one that was given, a recent one more often.
func (p *pair) lease(t *rapid.T) modelLease {
	if len(p.leases) == 0 {
		t.Skip("there are no leases")
	}
	recent := p.leases[max(0, len(p.leases)-6):]
	if rapid.IntRange(0, 3).Draw(t, "old") == 0 {
		recent = p.leases
	}
	return recent[rapid.IntRange(0, len(recent)-1).Draw(t, "lease")]
}

func (p *pair) settle(t *rapid.T) {
	var ends []queue.Settlement
	var want []queue.Hold
	for range rapid.IntRange(1, 4).Draw(t, "n") {
		l := p.lease(t)
		e := rapid.SampledFrom([]queue.Ending{
			queue.EndDone, queue.EndRetry, queue.EndRelease, queue.EndDead, queue.EndFailed, queue.EndCanceled,
		}).Draw(t, "ending")
		end := ending(queue.Delivery{Task: queue.Task{ID: l.ID}, Token: l.Token}, e)
		ends, want = append(ends, end), append(want, p.model.settle(l, end))
	}
	got, err := p.broker.Settle(p.ctx, p.queue, ends)
	p.check(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("Settle of %+v gives %v, not %v", ends, got, want)
	}
}

func (p *pair) renew(t *rapid.T) {
	var beats []queue.Beat
	var want []queue.Hold
	for range rapid.IntRange(1, 4).Draw(t, "n") {
		l := p.lease(t)
		beats, want = append(beats, queue.Beat{Lease: l.Lease, For: long}), append(want, p.model.renew(l))
	}
	got, err := p.other.Renew(p.ctx, p.queue, "w", beats)
	p.check(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("Renew of %+v gives %v, not %v", beats, got, want)
	}
}

func (p *pair) change(t *rapid.T) {
	c := queue.Change{Outcome: []byte(canceled)}
	c.Verb = rapid.SampledFrom([]queue.Verb{
		queue.Cancel, queue.Requeue, queue.Drop, queue.Resume, queue.Pause, queue.Resume, queue.Purge,
	}).Draw(t, "verb")
	if c.Verb <= queue.Drop {
		c.IDs = rapid.SliceOfNDistinct(id, 0, 4, rapid.ID).Draw(t, "ids")
	}
	got, err := p.broker.Change(p.ctx, p.queue, c)
	p.check(t, err)
	if want := p.model.change(c); got != want {
		t.Fatalf("Change %d of %v concerned %d tasks, not %d", c.Verb, c.IDs, got, want)
	}
}

// follow compares what the client is told.
func (p *pair) follow(t *rapid.T) { p.followed(t, len(p.model.told)) }

// followed reads what the client is told, up to its nth event. Purge ends tasks in any
// order, so events are compared by task.
func (p *pair) followed(t *rapid.T, n int) {
	var got []queue.Event
	for p.read+len(got) < n {
		events, next, err := p.other.Follow(p.ctx, p.queue, queue.Topic{Client: "c"}, p.cursor, long)
		p.check(t, err)
		if len(events) == 0 {
			t.Fatalf("the client was told %d times, not %d", p.read+len(got), n)
		}
		got, p.cursor = append(got, events...), next
	}
	want := slices.Clone(p.model.told[p.read:n])
	p.read = n
	byTask := func(a, b queue.Event) int { return strings.Compare(a.ID, b.ID) }
	slices.SortStableFunc(got, byTask)
	slices.SortStableFunc(want, byTask)
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Fatalf("the client was told\n%+v, not\n%+v", got, want)
	}
}

// topic compares the end of a task.
func (p *pair) topic(t *rapid.T) {
	id := id.Draw(t, "id")
	events, _, err := p.other.Follow(p.ctx, p.queue, queue.Topic{Task: id}, "", 0)
	p.check(t, err)
	want, known := queue.StateUnknown, p.model.tasks[id]
	if known != nil {
		want = known.state
	}
	switch {
	case known != nil && !known.state.Ended():
		if len(events) != 0 {
			t.Fatalf("%s has not ended, and its topic has %+v", id, events)
		}
	case len(events) != 1 || events[0].Kind != queue.EventEnd || events[0].State != want:
		t.Fatalf("%s is in state %d, and its topic has %+v", id, want, events)
	}
}

// pages compares the tasks in a state.
func (p *pair) pages(t *rapid.T) {
	q := queue.Query{Limit: rapid.IntRange(1, 5).Draw(t, "limit")}
	q.State = queue.State(rapid.IntRange(int(queue.StateWaiting), int(queue.StateCanceled)).Draw(t, "state"))
	seen := map[string]bool{}
	for {
		report, err := p.broker.Inspect(p.ctx, p.queue, q)
		p.check(t, err)
		for _, got := range report.Tasks {
			if seen[got.ID] || got.State != q.State || p.model.tasks[got.ID] == nil || p.model.tasks[got.ID].state != q.State {
				t.Fatalf("in state %d Inspect reports %s, which is in state %d, or was there", q.State, got.ID, got.State)
			}
			seen[got.ID] = true
		}
		if q.After = report.Next; q.After == "" {
			break
		}
	}
	if n := p.model.in(q.State); len(seen) != n {
		t.Fatalf("in state %d Inspect reports %d tasks, not %d", q.State, len(seen), n)
	}
}

// compare compares all that Inspect reports.
func (p *pair) compare(t *rapid.T) {
	var all []string
	for i := range 12 {
		all = append(all, fmt.Sprint("t", i+1))
	}
	report, err := p.broker.Inspect(p.ctx, p.queue, queue.Query{IDs: all, Stats: true})
	p.check(t, err)
	for _, got := range report.Tasks {
		want := p.model.tasks[got.ID]
		if want == nil {
			want = &modelTask{}
		}
		if got.State != want.state || got.Attempt != want.attempt || string(got.Outcome) != want.outcome || got.Unwanted != want.unwanted ||
			len(got.Past) != want.past {
			t.Fatalf("Inspect reports\n%+v, not\n%+v", got, *want)
		}
	}
	got, want := *report.Stats, p.model.stats
	want.Waiting, want.Running = int64(p.model.in(queue.StateWaiting)), int64(p.model.in(queue.StateRunning))
	want.Dead, want.Paused = int64(p.model.in(queue.StateDead)), p.model.paused
	got.Oldest, got.Workers = 0, nil
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Fatalf("the stats are\n%+v, not\n%+v", got, want)
	}
}
