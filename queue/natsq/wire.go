package natsq

import (
	"github.com/afar-go/afar/queue"
)

// wireVersion is the first byte of requests and answers. Brokers of another version are
// told so.
const wireVersion = 1

// kind says what a request asks for.
type kind uint8

const (
	kindSubmit kind = iota + 1
	kindTake
	kindRenew
	kindSettle
	kindFollow
	kindInspect
	kindChange
	kindWithdraw // a Take whose caller has gone: Of is its number
	kindPutBlob  // what was uploaded is to be seen
	kindKeepBlob
	kindFindBlob
)

// request is what a client asks of a queue's keeper. It may be sent several times:
// session and number name it, so that it counts once.
type request struct {
	kind     kind
	session  uint64
	number   uint64
	finished []uint64 // numbers of requests whose answers have arrived

	tasks   []queue.Task
	take    queue.TakeRequest
	worker  string // of renew
	beats   []queue.Beat
	ends    []queue.Settlement
	topic   queue.Topic
	after   queue.Cursor
	wait    int64 // of follow
	query   queue.Query
	change  queue.Change
	of      uint64
	blob    blob
	blobFor int64 // how long it is to be kept

	// Of the keeper.
	size  int           // as it was sent
	until int64         // when its wait is over, by the queue's clock
	reply func(*answer) // may be called once
	ans   *answer       // to be sent when it is certain
}

func (r *request) code(c *codec) {
	version := uint8(wireVersion)
	integer(c, &version)
	if version != wireVersion {
		c.fail(errVersion)
	}
	integer(c, &r.kind)
	integer(c, &r.session)
	integer(c, &r.number)
	list(c, &r.finished, integer[uint64])
	switch r.kind {
	case kindSubmit:
		list(c, &r.tasks, codeTask)
	case kindTake:
		c.text(&r.take.Worker)
		integer(c, &r.take.Max)
		integer(c, &r.take.Lease)
		integer(c, &r.take.Wait)
	case kindRenew:
		c.text(&r.worker)
		list(c, &r.beats, codeBeat)
	case kindSettle:
		list(c, &r.ends, codeSettlement)
	case kindFollow:
		c.text(&r.topic.Task)
		c.text(&r.topic.Client)
		c.text((*string)(&r.after))
		integer(c, &r.wait)
	case kindInspect:
		codeQuery(c, &r.query)
	case kindChange:
		integer(c, &r.change.Verb)
		c.texts(&r.change.IDs)
		c.blob(&r.change.Outcome)
		c.text(&r.change.Worker)
	case kindWithdraw:
		integer(c, &r.of)
	case kindPutBlob, kindKeepBlob, kindFindBlob:
		codeBlob(c, &r.blob)
		integer(c, &r.blobFor)
	default:
		c.fail(errShort)
	}
}

// status says what an answer is.
type status uint8

const (
	statusOK     status = iota + 1
	statusMoved         // ask again: somebody else keeps the queue, or nobody
	statusBusy          // ask again soon: the queue is being loaded
	statusRefuse        // text says why
	statusClosed        // of a keeper in this process: the broker is closed
)

// answer is what a keeper says to a request.
type answer struct {
	status     status
	text       string
	known      []bool
	deliveries []queue.Delivery
	holds      []queue.Hold
	events     []queue.Event
	next       queue.Cursor
	report     *queue.Report
	count      int
	blob       *blob
}

func (a *answer) code(c *codec) {
	version := uint8(wireVersion)
	integer(c, &version)
	if version != wireVersion {
		c.fail(errVersion)
	}
	integer(c, &a.status)
	c.text(&a.text)
	list(c, &a.known, (*codec).bool)
	list(c, &a.deliveries, codeDelivery)
	list(c, &a.holds, integer[queue.Hold])
	list(c, &a.events, codeEvent)
	c.text((*string)(&a.next))
	optional(c, &a.report, codeReport)
	integer(c, &a.count)
	optional(c, &a.blob, codeBlob)
}

func codeTask(c *codec, t *queue.Task) {
	c.text(&t.ID)
	c.text(&t.Label)
	c.blob(&t.Body)
	integer(c, &t.Priority)
	c.text(&t.Group)
	c.text(&t.Client)
	c.bool(&t.Random)
	integer(c, &t.Delay)
	integer(c, &t.Retention)
	c.texts(&t.Blobs)
}

func codeLease(c *codec, l *queue.Lease) {
	c.text(&l.ID)
	integer(c, &l.Token)
}

func codeDelivery(c *codec, d *queue.Delivery) {
	codeTask(c, &d.Task)
	integer(c, &d.Token)
	integer(c, &d.Attempt)
	list(c, &d.Past, codeAttempt)
}

func codeAttempt(c *codec, a *queue.Attempt) {
	c.text(&a.Worker)
	c.moment(&a.Ended)
	c.bool(&a.Lost)
	c.blob(&a.Error)
}

func codeBeat(c *codec, b *queue.Beat) {
	codeLease(c, &b.Lease)
	integer(c, &b.For)
	c.blobs(&b.Log)
	integer(c, &b.Progress[0])
	integer(c, &b.Progress[1])
}

func codeSettlement(c *codec, s *queue.Settlement) {
	codeLease(c, &s.Lease)
	c.text(&s.Worker)
	integer(c, &s.Ending)
	c.blob(&s.Outcome)
	c.blob(&s.Error)
	integer(c, &s.Delay)
	c.blobs(&s.Log)
	c.texts(&s.Blobs)
}

func codeEvent(c *codec, e *queue.Event) {
	integer(c, &e.Kind)
	c.text(&e.ID)
	integer(c, &e.State)
	c.blob(&e.Data)
	integer(c, &e.Attempt)
	c.text(&e.Worker)
}

func codeQuery(c *codec, q *queue.Query) {
	c.texts(&q.IDs)
	integer(c, &q.State)
	c.text(&q.After)
	integer(c, &q.Limit)
	c.bool(&q.Stats)
}

func codeReport(c *codec, r *queue.Report) {
	list(c, &r.Tasks, codeTaskState)
	c.text(&r.Next)
	optional(c, &r.Stats, codeStats)
}

func codeTaskState(c *codec, t *queue.TaskState) {
	codeTask(c, &t.Task)
	integer(c, &t.State)
	integer(c, &t.Attempt)
	c.text(&t.Worker)
	c.moment(&t.Submitted)
	c.moment(&t.Started)
	c.moment(&t.Ended)
	integer(c, &t.Progress[0])
	integer(c, &t.Progress[1])
	c.blob(&t.Outcome)
	list(c, &t.Past, codeAttempt)
	c.bool(&t.Unwanted)
}

func codeStats(c *codec, s *queue.Stats) {
	for _, n := range []*int64{&s.Waiting, &s.Delayed, &s.Running, &s.Dead, &s.Done, &s.Failed, &s.Canceled} {
		integer(c, n)
	}
	integer(c, &s.Oldest)
	c.bool(&s.Paused)
	list(c, &s.Workers, func(c *codec, w *queue.WorkerStats) {
		c.text(&w.Name)
		integer(c, &w.Running)
	})
}
