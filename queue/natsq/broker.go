package natsq

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// Broker stores queues in a NATS server with JetStream, or in a cluster of them. All
// methods may be called concurrently. Whoever opens it closes it.
type Broker struct {
	config Config
	names  names
	log    *slog.Logger
	conn   *nats.Conn
	js     jetstream.JetStream
	hellos *nats.Subscription
	calls  *nats.Subscription // summons, of an embedded server's

	embedded    bool
	server      *server.Server
	lock        *os.File
	marks       marks
	deleteAfter time.Duration // what is read no more is deleted so much later

	ctx  context.Context // ends when it is closed
	stop context.CancelCauseFunc
	work context.Context // ends a little later, so that what was begun can end
	cut  context.CancelFunc
	wg   sync.WaitGroup

	closing sync.Once
	mu      sync.Mutex
	closed  bool
	keepers map[string]*keeper
	claims  map[string]*claiming
	clients map[string]*client
	epochs  map[string]*epoch
}

// Broker is a queue.Broker.
var _ queue.Broker = (*Broker)(nil)

func newBroker(c Config) *Broker {
	b := &Broker{
		config: c, names: names{c.Prefix}, keepers: map[string]*keeper{}, claims: map[string]*claiming{},
		clients: map[string]*client{}, epochs: map[string]*epoch{},
	}
	if b.log = slog.New(slog.DiscardHandler); c.Log != nil {
		b.log = slog.New(c.Log)
	}
	b.ctx, b.stop = context.WithCancelCause(context.Background())
	b.work, b.cut = context.WithCancel(context.Background())
	return b
}

// tuned takes what tests have changed.
func (b *Broker) tuned() {
	t := &b.config.tune
	t.spareLog = cmp.Or(t.spareLog, spareLog)
	t.cleanStep = cmp.Or(t.cleanStep, cleanStep)
	b.deleteAfter = cmp.Or(t.deleteAfter, b.deleteAfter)
}

// closePatience is how long Close lets what was begun come to its end.
const closePatience = 2 * time.Second

// Close ends the use of the queues: methods that wait return queue.ErrClosed. An embedded
// server stops. When Close has returned, nothing of the Broker runs any more. It
// may be called several times.
func (b *Broker) Close() error {
	b.closing.Do(b.close)
	return nil
}

func (b *Broker) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop(queue.ErrClosed)
	slow := time.AfterFunc(closePatience, b.cut)
	b.wg.Wait()
	slow.Stop()
	b.cut()
	if b.conn != nil && !b.conn.IsClosed() {
		closed := make(chan struct{})
		b.conn.SetClosedHandler(func(*nats.Conn) { close(closed) })
		b.conn.Close()
		<-closed
	}
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
		b.marks.write()
	}
	if b.lock != nil {
		_ = b.lock.Close()
	}
}

// Submit implements queue.Broker.
func (b *Broker) Submit(ctx context.Context, name string, tasks []queue.Task) (known []bool, err error) {
	if err := check.Tasks(tasks); err != nil {
		return nil, check.Wrap(name, err)
	}
	for some := range portions(tasks, taskSize) {
		a, err := b.ask(ctx, name, &request{kind: kindSubmit, tasks: some})
		if err != nil {
			return nil, err
		}
		known = append(known, a.known...)
	}
	return known, nil
}

// Take implements queue.Broker.
func (b *Broker) Take(ctx context.Context, name string, r queue.TakeRequest) ([]queue.Delivery, error) {
	if err := check.Take(r); err != nil {
		return nil, check.Wrap(name, err)
	}
	a, err := b.ask(ctx, name, &request{kind: kindTake, take: r})
	if err != nil {
		return nil, err
	}
	return a.deliveries, nil
}

// Renew implements queue.Broker.
func (b *Broker) Renew(ctx context.Context, name, worker string, beats []queue.Beat) (holds []queue.Hold, err error) {
	if err := check.Renew(worker, beats); err != nil {
		return nil, check.Wrap(name, err)
	}
	if len(beats) == 0 {
		_, err := b.ask(ctx, name, &request{kind: kindRenew, worker: worker})
		return nil, err
	}
	for i := range beats { // what does not fit goes first
		if beats[i].Log, err = b.ahead(ctx, name, worker, beats[i].Lease, beats[i].Log); err != nil {
			return nil, err
		}
	}
	for some := range portions(beats, beatSize) {
		a, err := b.ask(ctx, name, &request{kind: kindRenew, worker: worker, beats: some})
		if err != nil {
			return nil, err
		}
		holds = append(holds, a.holds...)
	}
	return holds, nil
}

// Settle implements queue.Broker.
func (b *Broker) Settle(ctx context.Context, name string, ends []queue.Settlement) (holds []queue.Hold, err error) {
	if err := check.Settle(ends); err != nil {
		return nil, check.Wrap(name, err)
	}
	for i := range ends {
		if blobsSize(ends[i].Log) > maxLogs {
			ends = slices.Clone(ends) // which are the caller's
			break
		}
	}
	for i := range ends {
		if blobsSize(ends[i].Log) <= maxLogs {
			continue
		}
		if ends[i].Log, err = b.ahead(ctx, name, ends[i].Worker, ends[i].Lease, ends[i].Log); err != nil {
			return nil, err
		}
	}
	for some := range portions(ends, endSize) {
		a, err := b.ask(ctx, name, &request{kind: kindSettle, ends: some})
		if err != nil {
			return nil, err
		}
		holds = append(holds, a.holds...)
	}
	return holds, nil
}

// ahead sends so many of a delivery's log records that the rest fits into a request.
func (b *Broker) ahead(ctx context.Context, name, worker string, l queue.Lease, log [][]byte) ([][]byte, error) {
	for blobsSize(log) > maxLogs {
		n, size := 0, 0
		for n < len(log) && size < maxLogs {
			size += len(log[n]) + 8
			n++
		}
		beat := queue.Beat{Lease: l, Log: log[:n]}
		if _, err := b.ask(ctx, name, &request{kind: kindRenew, worker: worker, beats: []queue.Beat{beat}}); err != nil {
			return nil, err
		}
		log = log[n:]
	}
	return log, nil
}

// Follow implements queue.Broker.
func (b *Broker) Follow(ctx context.Context, name string, t queue.Topic, after queue.Cursor, wait time.Duration) ([]queue.Event, queue.Cursor, error) {
	if err := check.Follow(t, wait); err != nil {
		return nil, after, check.Wrap(name, err)
	}
	if !isCursor(after) {
		return nil, after, queueError(name, "%q is not a cursor", after)
	}
	a, err := b.ask(ctx, name, &request{kind: kindFollow, topic: t, after: after, wait: int64(wait)})
	if err != nil {
		return nil, after, err
	}
	return a.events, a.next, nil
}

// Inspect implements queue.Broker.
func (b *Broker) Inspect(ctx context.Context, name string, q queue.Query) (*queue.Report, error) {
	if err := check.Query(q); err != nil {
		return nil, check.Wrap(name, err)
	}
	rep := &queue.Report{}
	if q.Queues {
		var err error
		if rep.Queues, err = b.queues(ctx); err != nil {
			return nil, check.Wrap(name, err)
		}
		if len(q.IDs) == 0 && q.State == queue.StateUnknown && !q.Stats {
			return rep, nil
		}
	}
	for {
		a, err := b.ask(ctx, name, &request{kind: kindInspect, query: q})
		if err != nil {
			return nil, err
		}
		rep.Tasks = append(rep.Tasks, a.report.Tasks...)
		rep.Next, rep.Stats = a.report.Next, cmp.Or(a.report.Stats, rep.Stats)
		if len(q.IDs) <= len(a.report.Tasks) {
			return rep, nil
		}
		q.IDs = q.IDs[len(a.report.Tasks):]
	}
}

// Change implements queue.Broker.
func (b *Broker) Change(ctx context.Context, name string, c queue.Change) (int, error) {
	if err := check.Change(c); err != nil {
		return 0, check.Wrap(name, err)
	}
	count := 0
	all := c.IDs
	for first := true; first || len(all) > 0; first = false {
		n := min(len(all), maxIDs)
		c.IDs, all = all[:n], all[n:]
		if n == 0 && c.Verb == queue.Cancel {
			return 0, check.Wrap(name, b.over(ctx))
		}
		a, err := b.ask(ctx, name, &request{kind: kindChange, change: c})
		if err != nil {
			return count, err
		}
		count += a.count
	}
	return count, nil
}

// queues are the names of all queues.
func (b *Broker) queues(ctx context.Context) (all []string, err error) {
	err = b.retry(ctx, func(ctx context.Context) error {
		all = nil
		streams := b.js.ListStreams(ctx, jetstream.WithStreamListSubject(b.names.logSubject("*")))
		for info := range streams.Info() {
			if name := info.Config.Metadata[queueKey]; name != "" {
				all = append(all, name)
			}
		}
		return streams.Err()
	})
	slices.Sort(all)
	return all, err
}

// over is why nothing can be asked any more.
func (b *Broker) over(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if b.ctx.Err() != nil {
		return queue.ErrClosed
	}
	return nil
}

// Sizes of requests.
const (
	maxRequest = 256 << 10 // about, if there are several things in it
	maxLogs    = 192 << 10 // of a delivery's log records
	maxIDs     = 1000
)

func taskSize(t *queue.Task) int { return check.Size(t) + 64 }
func beatSize(b *queue.Beat) int { return len(b.ID) + 48 + blobsSize(b.Log) }
func endSize(s *queue.Settlement) int {
	return len(s.ID) + len(s.Worker) + 64 + len(s.Outcome) + len(s.Error) + blobsSize(s.Log) + 66*len(s.Blobs)
}

func blobsSize(all [][]byte) int {
	n := 0
	for _, b := range all {
		n += len(b) + 8
	}
	return n
}

// portions splits what is too much for one request.
func portions[T any](all []T, size func(*T) int) func(yield func([]T) bool) {
	return func(yield func([]T) bool) {
		for first := true; first || len(all) > 0; first = false {
			n, bytes := 0, 0
			for n < len(all) && n < maxTake {
				bytes += size(&all[n])
				if n > 0 && bytes > maxRequest {
					break
				}
				n++
			}
			if !yield(all[:n:n]) {
				return
			}
			all = all[n:]
		}
	}
}

// randomNumber is a number that nobody else has.
func randomNumber() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return binary.LittleEndian.Uint64(b[:])
}

// queueError makes an error one of a queue.
func queueError(name, format string, args ...any) error {
	return check.Wrap(name, fmt.Errorf(format, args...))
}
