package natsq

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/afar-go/afar/queue"
)

// claiming is the attempt to become a queue's keeper.
type claiming struct {
	done chan struct{}
	err  error
}

// summonPatience is how long an embedded server's broker may take to become a queue's keeper.
const summonPatience = 10 * time.Second

// keeper returns the keeper of a queue, if it is in this process.
func (b *Broker) keeper(token string) *keeper {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keepers[token]
}

// gone notes that a keeper keeps its queue no more.
func (b *Broker) gone(k *keeper) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keepers[k.token] == k {
		delete(b.keepers, k.token)
	}
}

// claim sees to it that somebody keeps a queue: this Broker, unless another was quicker. It
// returns an error if it is not known who does.
func (b *Broker) claim(ctx context.Context, name, token string) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return queue.ErrClosed
	}
	if b.keepers[token] != nil {
		b.mu.Unlock()
		return nil
	}
	c := b.claims[token]
	if c == nil {
		c = &claiming{done: make(chan struct{})}
		b.claims[token] = c
		b.wg.Go(func() {
			c.err = b.claimNow(name, token)
			b.mu.Lock()
			delete(b.claims, token)
			b.mu.Unlock()
			close(c.done)
		})
	}
	b.mu.Unlock()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// claimNow makes this Broker the keeper. In an embedded server's broker all queues are kept by
// that one, if it can be reached, since it is nearest to the data.
func (b *Broker) claimNow(name, token string) error {
	if !b.embedded {
		ctx, cancel := b.limit(b.ctx, summonPatience)
		defer cancel()
		msg, err := b.conn.RequestWithContext(ctx, b.names.summon(), []byte(name))
		if err == nil && len(msg.Data) > 0 {
			return errors.New(string(msg.Data))
		}
		if err == nil {
			return nil
		} else if !errors.Is(err, nats.ErrNoResponders) {
			return err
		}
	}
	if err := b.stream(b.ctx, name, token); err != nil {
		return err
	}
	k := b.newKeeper(name, token)
	var err error
	if k.sub, err = b.conn.Subscribe(b.names.keeper(token), k.receive); err != nil {
		return err
	}
	_ = k.sub.SetPendingLimits(-1, -1)
	err = k.load(b.ctx)
	if err == nil {
		err = k.claim(b.ctx)
	}
	if err == nil {
		err = b.instal(k)
	}
	if err != nil {
		_ = k.sub.Unsubscribe()
		k.stop(err)
		for _, r := range k.inbox.close() {
			r.reply(&answer{status: statusMoved})
		}
		return err
	}
	b.log.Debug("keeping a queue", "queue", name)
	return b.conn.Publish(b.names.hello(token), strconv.AppendUint(nil, k.id, 36))
}

// newKeeper returns one that has not begun.
func (b *Broker) newKeeper(name, token string) *keeper {
	k := &keeper{
		b: b, queue: name, token: token, id: randomNumber(), done: make(chan struct{}),
		workers: map[string]int64{}, ledger: newLedger(),
		log: log{js: b.js, conn: b.conn, limit: b.limit, stream: b.names.log(token), to: b.names.logSubject(token)},
	}
	k.inbox.signal = make(chan struct{}, 1)
	k.ctx, k.stop = context.WithCancelCause(b.ctx)
	return k
}

// instal lets a keeper begin.
func (b *Broker) instal(k *keeper) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return queue.ErrClosed
	}
	b.keepers[k.token] = k
	k.inbox.open()
	b.wg.Go(k.run)
	return nil
}

// receive takes a request from another process.
func (k *keeper) receive(msg *nats.Msg) {
	respond := func(a *answer) {
		if a.status == statusClosed { // this broker is, not that of who asks
			a = &answer{status: statusMoved}
		}
		var c codec
		a.code(&c)
		_ = msg.Respond(c.bytes) // who does not get it asks again
	}
	r := &request{reply: respond, size: len(msg.Data)}
	c := codec{bytes: msg.Data, reading: true}
	r.code(&c)
	switch {
	case errors.Is(c.err, errVersion):
		respond(&answer{status: statusRefuse, text: "who keeps the queue is of another version of afar"})
	case c.end() != nil:
		respond(&answer{status: statusRefuse, text: "the request is not understood"})
	case !k.inbox.isOpen():
		respond(&answer{status: statusBusy})
	case !k.inbox.put(r):
		respond(&answer{status: statusMoved})
	}
}

// open says that the keeper can be asked.
func (i *inbox) open() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.loaded = true
}

func (i *inbox) isOpen() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.loaded
}

// stream makes the stream of a queue's log, if there is none.
func (b *Broker) stream(ctx context.Context, name, token string) error {
	ctx, cancel := b.limit(ctx, appendPatience)
	defer cancel()
	_, err := b.js.Stream(ctx, b.names.log(token))
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	_, err = b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: b.names.log(token), Subjects: []string{b.names.logSubject(token)},
		Description: "the log of afar's queue " + name, Metadata: map[string]string{queueKey: name},
		Replicas: b.config.Replicas, AllowDirect: true,
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil
	}
	return err
}

// listen hears who keeps queues, and in an embedded server's broker also who wants one kept.
func (b *Broker) listen() (err error) {
	if b.hellos, err = b.conn.Subscribe(b.names.hello("*"), b.hello); err != nil || !b.embedded {
		return err
	}
	b.calls, err = b.conn.Subscribe(b.names.summon(), func(msg *nats.Msg) {
		name := string(msg.Data)
		if b.begin(b.ctx) != nil {
			return
		}
		go func() {
			defer b.wg.Done()
			if err := b.claim(b.ctx, name, token(name)); err != nil {
				b.log.Debug("a queue was not claimed", "queue", name, "error", err)
				_ = msg.Respond([]byte(err.Error()))
				return
			}
			_ = msg.Respond(nil)
		}()
	})
	return err
}

// hello hears that somebody has begun to keep a queue.
func (b *Broker) hello(msg *nats.Msg) {
	token := msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]
	if k := b.keeper(token); k != nil && string(msg.Data) != strconv.FormatUint(k.id, 36) {
		k.doubts()
	}
	b.news(token)
}

// doubts makes a keeper look whether it still is one.
func (k *keeper) doubts() {
	k.doubt.Store(true)
	select {
	case k.inbox.signal <- struct{}{}:
	default:
	}
}

// disconnected makes all ask again who wait for an answer of the server.
func (b *Broker) disconnected(err error) {
	b.news("")
	if err != nil {
		b.log.Warn("the connection to NATS was lost", "error", err)
	}
}

// reconnected makes all ask again whose answers may have been lost, here and, of queues
// that are kept here, elsewhere.
func (b *Broker) reconnected() {
	b.log.Info("connected to NATS again")
	b.mu.Lock()
	keepers := make([]*keeper, 0, len(b.keepers))
	for _, k := range b.keepers {
		keepers = append(keepers, k)
	}
	b.mu.Unlock()
	for _, k := range keepers {
		k.doubts()
		_ = b.conn.Publish(b.names.hello(k.token), strconv.AppendUint(nil, k.id, 36))
	}
	b.news("")
}

// claimAll claims all queues that there are, so that a damaged one is found now.
func (b *Broker) claimAll(ctx context.Context) error {
	all, err := b.queues(ctx)
	if err != nil {
		return err
	}
	for _, name := range all {
		if err := b.claim(ctx, name, token(name)); err != nil && lasting(err) {
			return queueError(name, "%w", err)
		}
	}
	return nil
}
