package natsq

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

const (
	// slice is how long a keeper in another process lets a request wait; who asks does so
	// again. So a keeper that has vanished is noticed, without a message that says so.
	slice = 2 * time.Second
	// answerPatience is how long a keeper may take to answer, besides.
	answerPatience = 3 * time.Second
	// orphaned is for how long nobody may keep a queue before another does: whoever has only lost
	// the connection is there again by then, and has not to read the log anew.
	orphaned = 300 * time.Millisecond
	// pauseFor is how long one waits for a server that cannot be asked now.
	pauseFor = 20 * time.Millisecond
)

// client is this Broker as a client of a queue: it numbers requests, so that one that is
// sent twice counts once.
type client struct {
	mu       sync.Mutex
	session  uint64
	last     uint64
	finished []uint64
}

// number names a request.
func (c *client) number(r *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	r.session, r.number = c.session, c.last
	r.finished, c.finished = c.finished, nil
}

// finish notes that the answer has arrived, or that nobody waits for it.
func (c *client) finish(r *request, err error) {
	if err != nil { // perhaps it was not sent
		c.mu.Lock()
		c.finished = append(c.finished, r.finished...)
		c.mu.Unlock()
	}
	switch r.kind {
	case kindFollow, kindInspect, kindFindBlob, kindKeepBlob, kindWithdraw:
		return // of which nothing is noted
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished = append(c.finished, r.number)
}

// client returns this Broker's client of a queue.
func (b *Broker) client(token string) *client {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.clients[token]
	if c == nil {
		c = &client{session: randomNumber()}
		b.clients[token] = c
	}
	return c
}

// ask asks a queue's keeper, whoever that is, until there is an answer, or ctx ends. All
// errors name the queue.
func (b *Broker) ask(ctx context.Context, name string, r *request) (*answer, error) {
	if err := check.Queue(name); err != nil {
		return nil, check.Wrap(name, err)
	}
	if err := b.begin(ctx); err != nil {
		return nil, check.Wrap(name, err)
	}
	defer b.wg.Done()
	q := &asked{b: b, name: name, token: token(name), r: r, began: time.Now()}
	q.take, q.follow = r.take.Wait, time.Duration(r.wait)
	c := b.client(q.token)
	c.number(r)
	a, err := q.until(ctx)
	c.finish(r, err)
	return a, check.Wrap(name, err)
}

// begin lets Close wait for what begins.
func (b *Broker) begin(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return queue.ErrClosed
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	b.wg.Add(1)
	return nil
}

// asked is a request on its way.
type asked struct {
	b            *Broker
	name, token  string
	r            *request
	began        time.Time
	take, follow time.Duration // how long it is to wait, of a kind
	misses       int           // times that no answer came
	alone        time.Time     // since when nobody keeps the queue; zero: somebody does
}

// until asks again and again.
func (q *asked) until(ctx context.Context) (*answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(q.b.ctx, func() { cancel(queue.ErrClosed) })
	defer stop()
	for {
		a, err := q.once(ctx)
		switch {
		case ctx.Err() != nil && (err != nil || a.status != statusOK):
			return nil, context.Cause(ctx)
		case err != nil:
			return nil, err
		case a.status == statusRefuse:
			return nil, errors.New(a.text)
		case a.status == statusClosed:
			return nil, queue.ErrClosed
		case a.status == statusBusy:
			err = q.b.pause(ctx, pauseFor)
		case a.status == statusOK && !q.sliced(a):
			return a, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// sliced tells whether only a slice of the wait is over.
func (q *asked) sliced(a *answer) bool {
	switch q.r.kind {
	case kindTake:
		return len(a.deliveries) == 0 && time.Since(q.began) < q.take
	case kindFollow:
		if len(a.events) > 0 || q.r.after == queue.Newest {
			return false
		}
		q.r.after = a.next
		return time.Since(q.began) < q.follow
	}
	return false
}

// wait sets how long the keeper may let the request wait, at most.
func (q *asked) wait(most time.Duration) {
	since := time.Since(q.began)
	q.r.take.Wait = max(0, min(q.take-since, most))
	q.r.wait = int64(max(0, min(q.follow-since, most)))
}

// once asks who keeps the queue as far as one can see. An answer of statusMoved says to
// look again.
func (q *asked) once(ctx context.Context) (*answer, error) {
	if k := q.b.keeper(q.token); k != nil {
		q.wait(max(q.take, q.follow))
		return q.here(ctx, k), nil
	}
	q.wait(slice)
	at := q.b.epoch(q.token)
	a, err := q.there(ctx, at)
	switch {
	case err == nil:
		q.misses, q.alone = 0, time.Time{}
		return a, nil
	case ctx.Err() != nil:
		return nil, err
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, err
	case errors.Is(err, nats.ErrNoResponders):
		if q.alone.IsZero() {
			q.alone = time.Now()
		}
	case at.Err() != nil: // something has changed
		return &answer{status: statusMoved}, nil
	case errors.Is(err, context.DeadlineExceeded):
		if q.misses++; q.misses < 2 {
			return &answer{status: statusMoved}, nil
		}
	default: // there is no connection
		return &answer{status: statusMoved}, q.b.pause(ctx, pauseFor)
	}
	return q.nobody(ctx, at)
}

// nobody does what is to be done when nobody keeps the queue: this Broker does, unless
// there is no such queue and the request is not one that makes it, or who kept it
// may only have lost the connection.
func (q *asked) nobody(ctx context.Context, at context.Context) (*answer, error) {
	again := &answer{status: statusMoved}
	there, err := q.b.exists(ctx, q.token)
	switch {
	case err != nil && lasting(err):
		return nil, err
	case err != nil:
		return again, q.b.pause(ctx, pauseFor)
	case !there && !q.r.makes():
		return q.nothing(ctx, at), nil
	case there && !q.b.embedded && q.misses < 2 && time.Since(q.alone) < orphaned:
		return again, q.b.pause(ctx, pauseFor)
	}
	if err = q.b.claim(ctx, q.name, q.token); err != nil && !lasting(err) {
		q.b.log.Debug("a queue was not claimed", "queue", q.name, "error", err)
		err = q.b.pause(ctx, pauseFor)
	}
	return again, err
}

// makes tells whether the queue comes to be by the request.
func (r *request) makes() bool {
	switch r.kind {
	case kindSubmit, kindTake, kindRenew, kindPutBlob:
		return true
	case kindChange:
		return r.change.Verb == queue.Pause
	}
	return false
}

// nothing is what a queue says that there is not.
func (q *asked) nothing(ctx context.Context, at context.Context) *answer {
	a := &answer{status: statusOK, holds: make([]queue.Hold, len(q.r.ends)), report: &queue.Report{}}
	for i := range a.holds {
		a.holds[i] = queue.Lost
	}
	for _, id := range q.r.query.IDs {
		a.report.Tasks = append(a.report.Tasks, unknown(id))
	}
	if q.r.query.Stats {
		a.report.Stats = &queue.Stats{}
	}
	if q.r.kind != kindFollow {
		return a
	}
	if a.next = q.r.after; a.next == "" || a.next == queue.Newest {
		a.next = cursorAt(0)
	}
	if q.r.topic.Task != "" && q.r.after != unknownCursor && q.r.after != queue.Newest {
		a.events = []queue.Event{{Kind: queue.EventEnd, ID: q.r.topic.Task}}
		a.next = unknownCursor
	} else if q.r.after != queue.Newest {
		_ = q.b.waitFor(ctx, at, time.Duration(q.r.wait))
	}
	return a
}

// here asks a keeper in this process.
func (q *asked) here(ctx context.Context, k *keeper) *answer {
	answers := make(chan *answer, 1)
	reply := func(a *answer) {
		select {
		case answers <- a:
		default: // it was answered already
		}
	}
	r := *q.r // which is the keeper's from now on
	r.reply = reply
	r.size = r.bytes()
	if !k.inbox.put(&r) {
		<-k.done
		return &answer{status: statusMoved}
	}
	select {
	case a := <-answers:
		return a
	case <-ctx.Done():
	}
	select {
	case a := <-answers:
		return a
	default:
	}
	if r.kind == kindTake {
		k.inbox.put(q.withdrawal(&r))
	}
	return &answer{status: statusMoved}
}

// withdrawal is the request to forget a Take.
func (q *asked) withdrawal(of *request) *request {
	w := &request{kind: kindWithdraw, of: of.number, reply: func(*answer) {}}
	q.b.client(q.token).number(w)
	return w
}

// there asks a keeper in another process.
func (q *asked) there(ctx, at context.Context) (*answer, error) {
	waiting := max(q.r.take.Wait, time.Duration(q.r.wait))
	limited, cancel := context.WithTimeout(ctx, waiting+answerPatience)
	defer cancel()
	stop := context.AfterFunc(at, cancel)
	defer stop()
	c := codec{bytes: make([]byte, 0, q.r.bytes())}
	q.r.code(&c)
	msg, err := q.b.conn.RequestWithContext(limited, q.b.names.keeper(q.token), c.bytes)
	if err != nil {
		if ctx.Err() != nil && q.r.kind == kindTake {
			var w codec
			q.withdrawal(q.r).code(&w)
			_ = q.b.conn.Publish(q.b.names.keeper(q.token), w.bytes)
		}
		return nil, err
	}
	a := &answer{}
	in := codec{bytes: msg.Data, reading: true}
	a.code(&in)
	if err := in.end(); err != nil {
		return nil, queueError(q.name, "the answer of who keeps the queue: %w", err)
	}
	return a, nil
}

// bytes is about how many bytes the request takes.
func (r *request) bytes() int {
	n := 256 + len(r.change.Outcome) + 16*len(r.finished)
	for i := range r.tasks {
		n += taskSize(&r.tasks[i])
	}
	for i := range r.beats {
		n += beatSize(&r.beats[i])
	}
	for i := range r.ends {
		n += endSize(&r.ends[i])
	}
	return n
}

// exists tells whether there is a queue.
func (b *Broker) exists(ctx context.Context, token string) (bool, error) {
	ctx, cancel := b.limit(ctx, answerPatience)
	defer cancel()
	_, err := b.js.Stream(ctx, b.names.log(token))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	return err == nil, err
}

// pause waits a moment for a server.
func (b *Broker) pause(ctx context.Context, d time.Duration) error {
	return b.waitFor(ctx, b.ctx, d)
}

// pause waits a moment.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// waitFor waits until something has changed, but not longer than d.
func (b *Broker) waitFor(ctx, at context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-at.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// retry does something with the server until it can be done, or cannot be.
func (b *Broker) retry(ctx context.Context, do func(context.Context) error) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.wg.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(b.ctx, func() { cancel(queue.ErrClosed) })
	defer stop()
	for {
		limited, cancel := b.limit(ctx, answerPatience)
		err := do(limited)
		cancel()
		if err == nil || lasting(err) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := b.pause(ctx, pauseFor); err != nil {
			return err
		}
	}
}

// lasting tells whether an error is one that does not go away by trying again.
func lasting(err error) bool {
	if errors.Is(err, errDamaged) || errors.Is(err, errVersion) || errors.Is(err, nats.ErrMaxPayload) ||
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) || errors.Is(err, errGiven) {
		return true
	}
	var refused *jetstream.APIError
	return errors.As(err, &refused) && slices.Contains(lastingCodes, refused.ErrorCode)
}

// lastingCodes are those of servers that have no room, or are not allowed to do what is asked.
var lastingCodes = []jetstream.ErrorCode{
	10002, // there is no room for a stream
	10023, // insufficient resources
	10026, // too many streams
	10028, // limits of memory
	10047, // limits of storage
	10054, // a message is too large
	10074, // replicas without a cluster
	10077, // the stream is full
}

// errGiven is an error of what a caller has given.
var errGiven = errors.New("")

// epoch ends when there is news of who keeps a queue.
type epoch struct {
	context.Context
	end context.CancelFunc
}

// limit limits what is asked of the server: to a time, and to the connection that there is
// now, since an answer that was lost with it does not come.
func (b *Broker) limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	limited, cancel := context.WithTimeout(ctx, d)
	stop := context.AfterFunc(b.epoch(""), cancel)
	return limited, func() {
		stop()
		cancel()
	}
}

// epoch returns the one that is now. That of no queue is the connection's.
func (b *Broker) epoch(token string) context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.epochs[token]
	if e == nil {
		e = &epoch{}
		e.Context, e.end = context.WithCancel(context.Background())
		b.epochs[token] = e
	}
	return e
}

// news ends the epoch of a queue, or of all.
func (b *Broker) news(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for t, e := range b.epochs {
		if token == "" || t == token {
			e.end()
			delete(b.epochs, t)
		}
	}
}
