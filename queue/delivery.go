package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/trust"
)

// delivery is an attempt at a task, here.
type delivery struct {
	Delivery
	work   *work
	ctx    context.Context // of the function
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	log      [][]byte // not told yet
	logged   int      // bytes, ever
	unlogged int      // records beyond maxLog
	progress [2]int64 // not told yet
}

// Causes with which a function's context ends, beside ErrLeaseLost.
var (
	errInterrupted = errors.New("queue: the worker is about to end")
	errUnwanted    = fmt.Errorf("queue: the task was canceled: %w", context.Canceled)
)

// ended is a delivery whose settlement is on its way.
type ended struct {
	delivery *delivery
	Settlement
}

func newDelivery(w *work, d *Delivery) *delivery {
	it := &delivery{Delivery: *d, work: w}
	it.ctx, it.cancel = context.WithCancelCause(w.base)
	return it
}

func (d *delivery) lease() Lease { return Lease{ID: d.ID, Token: d.Token} }

// run runs the task, and says what is to be settled; nil if there is nothing.
func (d *delivery) run() *ended {
	defer d.cancel(nil)
	if d.work.stopped() {
		return d.settle(Settlement{Ending: EndRelease})
	}
	o, by, err := openBody(d.work.queue.name, d.ID, d.Body)
	if err != nil {
		d.work.config.Log.Warn("task refused", "queue", d.work.queue.name, "task", d.ID, "label", d.Label, "why", err)
		return d.reject(err)
	}
	if d.Attempt > o.most() {
		return d.exhausted()
	}
	reply, err := d.call(o, by)
	if err != nil {
		return d.failed(o, err)
	}
	return d.done(reply)
}

// call runs the function.
func (d *delivery) call(o *order, by trust.PublicKey) (*afar.Reply, error) {
	to, err := d.place(o, by)
	if err != nil {
		return nil, err
	}
	if o.Blob != "" {
		if o.Input, err = d.work.queue.get(d.ctx, o.Blob); err != nil {
			return nil, err
		}
	}
	return to.Run(d.ctx, &afar.Call{Function: o.Function, Key: o.Key, Input: o.Input, Header: d.header(o),
		Policy: afar.Policy{Timeout: o.Timeout, MaxAttempts: 1}, Log: &logHandler{to: d}, Progress: d.report})
}

// place is where the function runs.
func (d *delivery) place(o *order, by trust.PublicKey) (afar.Runner, error) {
	programs := d.work.config.Programs
	if programs == nil {
		return d.work.places.of(d.ctx, o)
	}
	q := d.work.queue
	return programs.Runner(d.ctx, &Foreign{Queue: q.name, ID: d.ID, Function: o.Function, Command: o.Function == commandName,
		Key: by, Images: o.Programs, Open: q.broker.Blobs(q.name).Get})
}

// header tells the function, beside what its submitter has to say, which task it runs.
func (d *delivery) header(o *order) map[string]string {
	h := make(map[string]string, len(o.Header)+1)
	maps.Copy(h, o.Header)
	h[headerTask] = taskHeader(d.work.queue.name, &d.Delivery)
	return h
}

// done gives the task its output.
func (d *delivery) done(reply *afar.Reply) *ended {
	a := answer{Worker: d.work.config.Name, Attempt: d.Attempt, Output: reply.Output}
	s := Settlement{Ending: EndDone}
	if len(a.Output) > inline {
		hash, err := d.keep(a.Output)
		if err != nil {
			return d.settle(Settlement{Ending: EndRetry, Error: encodeError(err)})
		}
		a.Blob, a.Output, s.Blobs = hash, nil, []string{hash}
	}
	s.Outcome = a.append(make([]byte, 0, len(a.Output)+len(a.Worker)+32))
	return d.settle(s)
}

// keep puts a large output among the blobs.
func (d *delivery) keep(b []byte) (hash string, err error) {
	sum := sha256.Sum256(b)
	hash = hex.EncodeToString(sum[:])
	blobs := d.work.queue.broker.Blobs(d.work.queue.name)
	return hash, blobs.Put(d.work.life, hash, int64(len(b)), bytes.NewReader(b), keepUnused)
}

// failed settles a call that has ended with an error.
func (d *delivery) failed(o *order, err error) *ended {
	d.claim(err)
	switch cause := context.Cause(d.ctx); {
	case cause == ErrLeaseLost:
		return nil
	case cause == errUnwanted:
		return d.fail(EndCanceled, errUnwanted)
	case cause == errInterrupted, errors.Is(err, afar.ErrClosed):
		return d.settle(Settlement{Ending: EndRelease})
	case errors.Is(err, ErrBusy):
		return d.settle(Settlement{Ending: EndRelease, Delay: unablePause})
	case errors.Is(err, ErrReject):
		return d.reject(err)
	case !o.Insist && d.answers(err):
		return d.fail(EndFailed, err)
	case d.Attempt < o.most():
		pause := o.pause(d.Attempt)
		if !d.answers(err) && !errors.Is(err, afar.ErrWorkerLost) {
			pause = max(pause, unablePause) // so that somebody else can have it
		}
		return d.settle(Settlement{Ending: EndRetry, Delay: pause, Error: encodeError(err)})
	case o.Attempts == 1 && d.answers(err):
		return d.fail(EndFailed, err)
	}
	return d.reject(err)
}

// claim says in an error which worker of the queue it comes from: those of its pool have the
// same names everywhere.
func (d *delivery) claim(err error) {
	var remote *afar.RemoteError
	if errors.As(err, &remote) {
		remote.Worker = d.work.config.Name
	}
	var lost *afar.WorkerLostError
	if errors.As(err, &lost) {
		lost.Worker = d.work.config.Name + "/" + lost.Worker
	}
}

// unablePause is the least pause after an attempt in which the worker could not run the
// function: it does not have it, or no place for it.
const unablePause = time.Second

// answers tells whether an error is the function's, or its timeout.
func (d *delivery) answers(err error) bool {
	var remote *afar.RemoteError
	return errors.As(err, &remote) && !errors.Is(err, afar.ErrWorkerLost) || errors.Is(err, afar.ErrTimeout)
}

// exhausted rejects a task whose workers were lost too often.
func (d *delivery) exhausted() *ended {
	err := fmt.Errorf("queue: %w: no lease of %d attempts was renewed", afar.ErrWorkerLost, d.Attempt-1)
	if n := len(d.Past); n > 0 {
		err = lostError(&d.Past[n-1])
	}
	s := d.reject(err)
	s.Error = nil // it has had no attempt here
	return s
}

func (d *delivery) reject(err error) *ended {
	s := d.fail(EndDead, err)
	s.Error = encodeError(err)
	return s
}

// fail gives the task an error.
func (d *delivery) fail(how Ending, err error) *ended {
	a := answer{Worker: d.work.config.Name, Attempt: d.Attempt, Fault: encodeError(err)}
	return d.settle(Settlement{Ending: how, Outcome: a.append(nil)})
}

// settle ends the delivery, with what it has not told yet.
func (d *delivery) settle(s Settlement) *ended {
	s.Lease, s.Worker = d.lease(), d.work.config.Name
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unlogged > 0 {
		d.log = append(d.log, appendLog(s.Worker, d.Attempt, &peer.Record{Time: time.Now(),
			Message: fmt.Sprintf("queue: %d more log records were not kept: an attempt has at most %d bytes of them", d.unlogged, maxLog)}))
	}
	s.Log, d.log = d.log, nil
	return &ended{d, s}
}

// say takes a record of the function.
func (d *delivery) say(rec *peer.Record) {
	b := appendLog(d.work.config.Name, d.Attempt, rec)
	if len(b) > maxRecord {
		b = appendLog(d.work.config.Name, d.Attempt, &peer.Record{Time: rec.Time, Level: rec.Level,
			Message: strings.ToValidUTF8(rec.Message[:min(len(rec.Message), maxRecord/2)], ""),
			Attrs:   []slog.Attr{slog.String("!CUT", fmt.Sprintf("message of %d bytes, %d attributes", len(rec.Message), len(rec.Attrs)))}})
	}
	d.mu.Lock()
	if d.logged+len(b) > maxLog {
		d.unlogged++
		d.mu.Unlock()
		return
	}
	d.logged += len(b)
	d.log = append(d.log, b)
	d.mu.Unlock()
	signal(d.work.said)
}

// report takes what the function says of its progress.
func (d *delivery) report(_ string, done, total int64) {
	d.mu.Lock()
	d.progress = [2]int64{done, total}
	d.mu.Unlock()
	signal(d.work.said)
}

// beat is what is to be told of the delivery; news tells whether there is something.
func (d *delivery) beat() (b Beat, news bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b = Beat{Lease: d.lease(), For: d.work.config.Lease, Log: d.log, Progress: d.progress}
	news = len(b.Log) > 0 || b.Progress != [2]int64{}
	d.log, d.progress = nil, [2]int64{}
	return b, news
}
