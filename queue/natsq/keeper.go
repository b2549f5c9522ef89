package natsq

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/afar-go/afar/queue"
)

const (
	// listens is for how long a worker counts as listening after its last sign of life.
	listens = 15 * time.Second
	// lookAfter is how long a keeper to whom nothing happens believes that it is the keeper.
	lookAfter = 5 * time.Second
	// sweepEvery is how often what is too old is looked for.
	sweepEvery = time.Minute
)

// keeper keeps a queue: it has the ledger in memory, and is the only one to write its log.
// All requests go through one goroutine. Those that have come while a record was written
// make the next record together, and are answered when it is stored: so the number of writes,
// and of waits for a disk, does not grow with the number of clients.
type keeper struct {
	b     *Broker
	queue string
	token string
	id    uint64
	inbox inbox
	sub   *nats.Subscription
	stop  context.CancelCauseFunc
	ctx   context.Context // ends when it is to end; what it has begun is ended before
	doubt atomic.Bool     // it may not be the keeper any more, and should look
	done  chan struct{}   // closed when it keeps nothing any more
	bg    sync.WaitGroup  // deletions that are under way

	// Of the goroutine that runs it.
	log       log
	ledger    *ledger
	rec       codec      // the next record
	facts     int        // that are in it
	confirm   bool       // it is to be written though nothing is in it
	answers   []*request // which wait for it
	takers    []*request
	followers map[queue.Topic][]*request
	workers   map[string]int64 // until when they count as listening
	soonest   int64            // when the first wait is over, 0 if none waits
	clock0    int64            // the queue's clock when started was the time
	started   time.Time
	looked    int64 // when it was last certain that it is the keeper
	swept     int64
	marked    int64  // when it has marked
	safe      uint64 // what had been written then
	cleanAt   int64  // the size of the log at which it is cleaned
	cuts      []cut  // deletions that are due
}

// now is the queue's clock. It goes on from the server's time at the moment when the keeper
// began, and never looks at this host's.
func (k *keeper) now() int64 { return k.clock0 + int64(time.Since(k.started)) }

// run keeps the queue until there is an error or ctx ends.
func (k *keeper) run() {
	err := k.serve()
	if cause := context.Cause(k.ctx); cause != nil {
		err = cause
	}
	k.stop(err)
	k.b.gone(k)
	status, text := statusMoved, ""
	switch {
	case errors.Is(err, queue.ErrClosed):
		status = statusClosed
	case lasting(err):
		status, text = statusRefuse, err.Error()
	}
	_ = k.sub.Unsubscribe()
	_ = k.b.conn.Publish(k.b.names.hello(k.token), []byte("bye")) // so that whoever waits here asks again
	left := append(k.inbox.close(), k.answers...)
	left = append(left, k.takers...)
	for _, waiting := range k.followers {
		left = append(left, waiting...)
	}
	for _, r := range left {
		r.reply(&answer{status: status, text: text})
	}
	k.bg.Wait()
	k.b.marks.set(k.token, k.log.last)
	close(k.done)
}

// serve does what is asked for, in turns: each ends with a record.
func (k *keeper) serve() error {
	if err := k.write(tagSpared, &spared{}); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := k.turn(k.inbox.take()); err != nil {
			return err
		}
		timer.Reset(k.idle())
		select {
		case <-k.inbox.signal:
		case <-timer.C:
		case <-k.ctx.Done():
			return context.Cause(k.ctx)
		}
	}
}

// turn does what was asked for, and what has become due.
func (k *keeper) turn(requests []*request) error {
	if err := k.lapse(); err != nil {
		return err
	}
	for _, r := range requests {
		if err := k.handle(r); err != nil {
			return err
		}
	}
	if err := k.deliver(); err != nil {
		return err
	}
	if err := k.tell(); err != nil {
		return err
	}
	k.expire()
	if err := k.commit(); err != nil {
		return err
	}
	return k.upkeep()
}

// idle is how long nothing happens unless somebody asks for something.
func (k *keeper) idle() time.Duration {
	l := k.ledger
	if len(l.touched) > 0 || len(k.takers) > 0 && !l.paused && l.states[queue.StateWaiting].n > 0 {
		return 0 // time has passed since those who wait were looked after
	}
	now := k.now()
	first := now + int64(sweepEvery)
	if len(k.takers) > 0 || len(k.followers) > 0 {
		first = k.looked + int64(lookAfter)
	}
	for _, t := range []int64{l.next(), k.soonest} {
		if t != 0 {
			first = min(first, t)
		}
	}
	if k.doubt.Load() {
		first = min(first, now+int64(pauseFor))
	}
	if len(k.cuts) > 0 {
		first = min(first, k.cuts[0].at)
	}
	return time.Duration(max(0, first-now))
}

// lapse lets time pass: delays and retentions end, and leases.
func (k *keeper) lapse() error {
	now := k.now()
	k.ledger.pass(now)
	for e := k.ledger.leases.top(); e != nil && e.due <= now; e = k.ledger.leases.top() {
		k.begin()
		if err := k.write(tagReturned, &returned{
			num: e.num, token: e.token, ending: queue.EndRetry, lost: true,
			worker: e.life.worker, mark: k.ledger.marks(1),
		}); err != nil {
			return err
		}
		if err := k.room(0); err != nil {
			return err
		}
	}
	return nil
}

// begin begins a record, if none has been begun.
func (k *keeper) begin() {
	if k.rec.bytes != nil {
		return
	}
	l := k.ledger
	record := k.log.last + 1
	l.begin(record, k.now())
	k.rec = codec{record: record, first: l.mark, load: k.fetch, bytes: make([]byte, 0, 4<<10)}
	h := header{recordVersion, l.now, l.mark, l.lastStamp, k.log.floor}
	h.code(&k.rec)
}

// write adds a fact to the record, and applies it.
func (k *keeper) write(tag uint8, f fact) error {
	k.begin()
	integer(&k.rec, &tag)
	f.code(&k.rec)
	if k.rec.err != nil {
		return k.rec.err
	}
	k.facts++
	f.apply(k.ledger)
	return nil
}

// fetch reads data from the log.
func (k *keeper) fetch(p *place) ([]byte, error) {
	if p.record == k.rec.record {
		return k.rec.bytes[p.from : p.from+p.n], nil
	}
	return k.log.fetch(k.b.work, p)
}

// bytes returns data as bytes that are the caller's.
func (k *keeper) bytes(d data) ([]byte, error) {
	b := d.b
	if d.place != nil {
		var err error
		if b, err = k.fetch(d.place); err != nil {
			return nil, err
		}
	}
	if len(b) == 0 {
		return nil, nil
	}
	return append([]byte(nil), b...), nil
}

// room writes the record if it is full, or so much more would not fit. What a request
// does is in one record, so that it happens altogether or not at all.
func (k *keeper) room(more int) error {
	if n := len(k.rec.bytes); n == 0 || n+more < fullRecord {
		return nil
	}
	return k.commit()
}

// commit writes the record, and sends the answers that wait for it.
func (k *keeper) commit() error {
	if k.facts > 0 || k.confirm {
		k.begin()
		if err := k.log.append(k.b.work, seal(k.rec.bytes)); err != nil {
			return err
		}
		k.looked = k.now()
	}
	k.rec, k.facts, k.confirm = codec{}, 0, false
	clear(k.ledger.gone)
	for _, r := range k.answers {
		r.reply(r.ans)
	}
	clear(k.answers)
	k.answers = k.answers[:0]
	return nil
}

// answer answers a request once what it has led to is stored.
func (k *keeper) answer(r *request, a *answer) {
	a.status = statusOK
	r.ans = a
	k.answers = append(k.answers, r)
}

// refuse answers that a request cannot be done, whoever is asked.
func (k *keeper) refuse(r *request, text string) {
	r.ans = &answer{status: statusRefuse, text: text}
	k.answers = append(k.answers, r)
}

// expire ends waits that are over.
func (k *keeper) expire() {
	now := k.now()
	if k.soonest == 0 || now < k.soonest {
		return
	}
	k.soonest = 0
	k.takers = k.still(k.takers, now, func(r *request) { k.answer(r, &answer{}) })
	for t, waiting := range k.followers {
		waiting = k.still(waiting, now, func(r *request) { k.answer(r, &answer{next: r.after}) })
		if k.followers[t] = waiting; len(waiting) == 0 {
			delete(k.followers, t)
		}
	}
}

// still returns those whose wait is not over, and ends that of the others.
func (k *keeper) still(waiting []*request, now int64, end func(*request)) []*request {
	left := waiting[:0]
	for _, r := range waiting {
		if r.until <= now {
			end(r)
			continue
		}
		left = append(left, r)
		k.waits(r)
	}
	clear(waiting[len(left):])
	return left
}

// waits notes when a wait is over.
func (k *keeper) waits(r *request) {
	if k.soonest == 0 || r.until < k.soonest {
		k.soonest = r.until
	}
}

// header is what every record begins with.
type header struct {
	version uint8
	now     int64
	mark    uint64
	stamp   uint64
	floor   uint64
}

func (h *header) code(c *codec) {
	integer(c, &h.version)
	if h.version != recordVersion {
		c.fail(errVersion)
	}
	integer(c, &h.now)
	integer(c, &h.mark)
	integer(c, &h.stamp)
	integer(c, &h.floor)
}

// inbox holds requests until the keeper takes them.
type inbox struct {
	mu     sync.Mutex
	items  []*request
	closed bool
	loaded bool
	signal chan struct{} // has something when items do
}

// put adds a request, and tells whether somebody will answer it.
func (i *inbox) put(r *request) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return false
	}
	i.items = append(i.items, r)
	select {
	case i.signal <- struct{}{}:
	default:
	}
	return true
}

// take returns what is there.
func (i *inbox) take() []*request {
	i.mu.Lock()
	defer i.mu.Unlock()
	items := i.items
	i.items = nil
	return items
}

// close returns what is there. Nothing comes any more.
func (i *inbox) close() []*request {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	return i.take()
}
