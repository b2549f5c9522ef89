package natsq

import (
	"slices"
	"time"

	"github.com/afar-go/afar/queue"
)

// handle does what is asked for, or lets it wait.
func (k *keeper) handle(r *request) error {
	if err := k.room(r.size); err != nil {
		return err
	}
	if s := k.ledger.sessions[r.session]; s != nil {
		s.seen = k.ledger.now
		if res := s.results[r.number]; res != nil && k.stands(res) {
			return k.repeat(r, res)
		}
		for _, n := range r.finished { // also if nothing is written
			delete(s.results, n)
		}
	}
	switch r.kind {
	case kindSubmit:
		return k.submit(r)
	case kindTake:
		k.take(r)
		return nil
	case kindRenew:
		return k.renew(r)
	case kindSettle:
		return k.settle(r)
	case kindFollow:
		return k.follow(r)
	case kindInspect:
		return k.inspect(r)
	case kindChange:
		return k.change(r)
	case kindWithdraw:
		return k.withdraw(r)
	default:
		return k.serveBlob(r)
	}
}

// served notes what a request has led to, and answers it.
func (k *keeper) served(r *request, res result, a *answer) error {
	k.answer(r, a)
	return k.write(tagServed, &served{r.session, r.number, r.finished, res})
}

// stands tells whether what a request led to is of use. What a Take gave is not any more when
// the leases have ended.
func (k *keeper) stands(res *result) bool {
	for _, t := range res.took {
		if e := k.ledger.entries[t.ID]; e != nil && e.holds(t.Token) {
			return true
		}
	}
	return len(res.took) == 0
}

// repeat answers a request that has been served before.
func (k *keeper) repeat(r *request, res *result) error {
	a := &answer{known: res.known, holds: slices.Clone(res.holds), count: res.count}
	if a.known == nil {
		a.known = make([]bool, len(r.tasks))
	}
	if a.holds == nil {
		a.holds = held(len(r.ends) + len(r.beats))
	}
	for _, t := range res.took {
		e := k.ledger.entries[t.ID]
		if e == nil || !e.holds(t.Token) {
			continue
		}
		d, err := k.delivery(e)
		if err != nil {
			return err
		}
		a.deliveries = append(a.deliveries, d)
	}
	k.confirm = true
	k.answer(r, a)
	return nil
}

// held is what is said of n leases that are.
func held(n int) []queue.Hold {
	holds := make([]queue.Hold, n)
	for i := range holds {
		holds[i] = queue.Held
	}
	return holds
}

// expected returns nil in place of what repeat takes for granted.
func expected(holds []queue.Hold) []queue.Hold {
	for _, h := range holds {
		if h != queue.Held {
			return holds
		}
	}
	return nil
}

func (k *keeper) submit(r *request) error {
	l := k.ledger
	a := &answer{known: make([]bool, len(r.tasks))}
	res := result{}
	for i := range r.tasks {
		t := r.tasks[i]
		if l.entries[t.ID] != nil {
			a.known[i], res.known = true, a.known
			continue
		}
		k.begin()
		f := &submitted{num: l.lastNum + 1, task: t, body: data{b: t.Body}, submitted: l.now, birth: l.mark}
		f.task.Body = nil
		if t.Delay > 0 {
			f.ready = l.now + int64(t.Delay)
		}
		if err := k.write(tagSubmitted, f); err != nil {
			return err
		}
	}
	return k.served(r, res, a)
}

// take lets a worker wait for deliveries. One who asks again, because the answer did not
// come, takes the place that it had.
func (k *keeper) take(r *request) {
	now := k.now()
	r.until = now + int64(r.take.Wait)
	k.workers[r.take.Worker] = r.until + int64(listens)
	for i, other := range k.takers {
		if other.session == r.session && other.number == r.number {
			k.takers[i] = r
			k.waits(r)
			return
		}
	}
	k.takers = append(k.takers, r)
	k.waits(r)
}

// deliver gives waiting tasks to those who wait for them.
func (k *keeper) deliver() error {
	n := 0
	for _, r := range k.takers {
		if k.ledger.paused || k.ledger.states[queue.StateWaiting].n == 0 {
			break
		}
		if err := k.give(r); err != nil {
			return err
		}
		n++
	}
	clear(k.takers[:n])
	if k.takers = k.takers[n:]; len(k.takers) == 0 {
		k.takers = nil
	}
	return nil
}

// maxAnswer is about how many bytes go into an answer, if there are several things in it.
const maxAnswer = 256 << 10

// give gives a taker what it may have.
func (k *keeper) give(r *request) error {
	if err := k.room(0); err != nil {
		return err
	}
	k.begin()
	var entries []*entry
	f := &taken{worker: r.take.Worker, lease: int64(r.take.Lease)}
	res := result{}
	for size := int64(0); len(entries) < r.take.Max && len(entries) < maxTake && size < maxAnswer; {
		e := k.next()
		if e == nil {
			break
		}
		size += e.size()
		token := k.ledger.marks(1)
		f.tasks = append(f.tasks, grant{e.num, token})
		res.took = append(res.took, queue.Lease{ID: e.id, Token: token})
		entries = append(entries, e)
	}
	if err := k.write(tagTaken, f); err != nil {
		return err
	}
	a := &answer{deliveries: make([]queue.Delivery, 0, len(entries))}
	for _, e := range entries {
		d, err := k.delivery(e)
		if err != nil {
			return err
		}
		a.deliveries = append(a.deliveries, d)
	}
	k.workers[r.take.Worker] = k.ledger.now + int64(listens)
	return k.served(r, res, a)
}

// maxTake is how many deliveries there are in an answer.
const maxTake = 4096

// next takes the task that goes first out of its line.
func (k *keeper) next() *entry {
	for _, lane := range k.ledger.lanes {
		if e := lane.next(); e != nil {
			lane.remove(e)
			return e
		}
	}
	return nil
}

// delivery makes the delivery of a task that runs.
func (k *keeper) delivery(e *entry) (d queue.Delivery, err error) {
	d = queue.Delivery{Task: e.task(), Token: e.token, Attempt: e.attempts()}
	if d.Body, err = k.bytes(e.body); err != nil {
		return d, err
	}
	d.Past, err = k.past(e)
	return d, err
}

// task is the task without its body.
func (e *entry) task() queue.Task {
	return queue.Task{
		ID: e.id, Label: e.label, Priority: e.priority, Group: e.group, Client: e.client, Random: e.random,
		Retention: time.Duration(e.retention), Blobs: slices.Clone(e.blobs),
	}
}

// past makes what is told of the attempts before.
func (k *keeper) past(e *entry) (all []queue.Attempt, err error) {
	if e.life == nil {
		return nil, nil
	}
	for _, p := range e.life.past {
		a := queue.Attempt{Worker: p.worker, Ended: at(p.ended), Lost: p.lost}
		if a.Error, err = k.bytes(p.said); err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

func (k *keeper) renew(r *request) error {
	now := k.now()
	k.workers[r.worker] = now + int64(listens)
	a := &answer{holds: make([]queue.Hold, len(r.beats))}
	logs := false
	for i := range r.beats {
		b := &r.beats[i]
		e := k.ledger.entries[b.ID]
		if e == nil || !e.holds(b.Token) {
			a.holds[i] = queue.Lost
			continue
		}
		a.holds[i] = queue.Held
		if e.life.unwanted {
			a.holds[i] = queue.Unwanted
		}
		logs = logs || len(b.Log) > 0
		if err := k.beat(e, b, now); err != nil {
			return err
		}
	}
	if logs { // which must not be kept twice
		return k.served(r, result{holds: expected(a.holds)}, a)
	}
	k.confirm = true // so that who is no keeper any more confirms no lease
	k.answer(r, a)
	return nil
}

// beat takes a delivery's sign of life. Only what a keeper who takes over has to know is
// written: that leases begin anew then is in their holders' favour.
func (k *keeper) beat(e *entry, b *queue.Beat, now int64) error {
	if b.For > 0 { // which it is not of records that did not fit into a settlement
		e.due = now + int64(b.For)
		k.ledger.leases.set(e)
	}
	if b.For > 0 && (int64(b.For) != e.life.lease || e.life.spared) {
		if err := k.write(tagExtended, &extended{e.num, int64(b.For)}); err != nil {
			return err
		}
	}
	if len(b.Log) == 0 && b.Progress == [2]int64{} {
		return nil
	}
	return k.note(e, b.Log, b.Progress)
}

// note keeps what a delivery has said.
func (k *keeper) note(e *entry, log [][]byte, progress [2]int64) error {
	k.begin()
	f := &noted{num: e.num, progress: progress, mark: k.ledger.marks(len(log))}
	for _, record := range log {
		f.log = append(f.log, data{b: record})
	}
	return k.write(tagNoted, f)
}

func (k *keeper) settle(r *request) error {
	a := &answer{holds: make([]queue.Hold, len(r.ends))}
	for i := range r.ends {
		var err error
		if a.holds[i], err = k.settleOne(&r.ends[i]); err != nil {
			return err
		}
	}
	return k.served(r, result{holds: expected(a.holds)}, a)
}

func (k *keeper) settleOne(s *queue.Settlement) (queue.Hold, error) {
	e := k.ledger.entries[s.ID]
	_, outcome := outcomes[s.Ending]
	switch {
	case e == nil || !e.given(s.Token):
		return queue.Lost, nil
	case e.repeated(s.Token, s.Ending):
		return queue.Held, nil
	case outcome && e.state.Ended(), !outcome && !e.holds(s.Token):
		return queue.Lost, nil
	}
	if len(s.Log) > 0 {
		if err := k.note(e, s.Log, [2]int64{}); err != nil {
			return 0, err
		}
	}
	k.begin()
	mark := k.ledger.marks(1)
	if outcome {
		return queue.Held, k.write(tagEnded, &ended{
			num: e.num, token: s.Token, ending: s.Ending, worker: s.Worker, mark: mark,
			outcome: data{b: s.Outcome}, said: data{b: s.Error}, needs: s.Blobs,
		})
	}
	f := &returned{num: e.num, token: s.Token, ending: s.Ending, worker: s.Worker, mark: mark}
	if s.Ending == queue.EndRetry {
		f.said = data{b: s.Error}
	}
	if s.Delay > 0 {
		f.ready = k.ledger.now + int64(s.Delay)
	}
	return queue.Held, k.write(tagReturned, f)
}

// withdraw gives back what a Take was given whose caller had gone.
func (k *keeper) withdraw(r *request) error {
	k.takers = slices.DeleteFunc(k.takers, func(t *request) bool {
		gone := t.session == r.session && t.number == r.of
		if gone {
			t.reply(&answer{status: statusOK})
		}
		return gone
	})
	s := k.ledger.sessions[r.session]
	if s == nil || s.results[r.of] == nil {
		k.answer(r, &answer{})
		return nil
	}
	for _, t := range s.results[r.of].took {
		if e := k.ledger.entries[t.ID]; e != nil && e.holds(t.Token) {
			k.begin()
			if err := k.write(tagReturned, &returned{
				num: e.num, token: t.Token, ending: queue.EndRelease, mark: k.ledger.marks(1),
			}); err != nil {
				return err
			}
		}
	}
	r.finished = append(r.finished, r.of)
	return k.served(r, result{}, &answer{})
}
