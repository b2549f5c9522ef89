package redisq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// call is a method that runs.
type call struct {
	context.Context // ends also with Close
	broker          *Broker
	queue           string
	end             func()
	failed          error         // why it was tried again, last
	linger          time.Duration // how long an answer is waited for when the method should have ended
}

// undated hides a deadline: with one rueidis would not see that the context is canceled before.
type undated struct{ context.Context }

func (undated) Deadline() (time.Time, bool) { return time.Time{}, false }

// begin starts a method. Its end must be called.
func (b *Broker) begin(ctx context.Context, queueName string) (*call, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, queue.ErrClosed
	}
	b.calls.Add(1)
	merged, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(b.ctx, func() { cancel(queue.ErrClosed) })
	c := &call{Context: merged, broker: b, queue: queueName}
	c.end = func() {
		stop()
		cancel(nil)
		b.calls.Done()
	}
	return c, nil
}

// key returns the beginning of the queue's keys. What is between braces decides where in a
// cluster they are, so a name may have none in it.
func (b *Broker) key(queueName string) string {
	if strings.ContainsAny(queueName, "{}%") {
		queueName = strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D").Replace(queueName)
	}
	return b.place.prefix + ":{" + queueName + "}:"
}

// heading is how many arguments of a script are the request's.
const heading = 4

// arguments makes room for those of a script.
func arguments(n int) []string { return make([]string, heading, heading+n) }

// slots are places in which requests of a broker are told apart: each has one at a time,
// and the server remembers the last of each.
type slots struct {
	mu   sync.Mutex
	free []int
	all  int
	next uint64
}

// take returns a slot, and the number of a request in it.
func (s *slots) take() (slot int, request uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	if n := len(s.free); n > 0 {
		slot, s.free = s.free[n-1], s.free[:n-1]
		return slot, s.next
	}
	s.all++
	return s.all, s.next
}

func (s *slots) give(slot int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, slot)
}

// send sends a command, and returns no later than the method ends. rueidis alone would not: who needs
// a new connection waits until it is made, or not.
func (c *call) send(ctx context.Context, command rueidis.Completed) rueidis.RedisResult {
	answer := make(chan rueidis.RedisResult, 1)
	while := ctx
	if c.linger > 0 {
		while = c.broker.ctx
	}
	c.broker.sends.Go(func() { answer <- c.broker.client.Do(undated{while}, command) })
	select {
	case result := <-answer:
		return result
	case <-ctx.Done():
	}
	if c.linger > 0 {
		pause := time.NewTimer(c.linger)
		defer pause.Stop()
		select {
		case result := <-answer:
			return result
		case <-pause.C:
		case <-c.broker.ctx.Done():
		}
	}
	return rueidis.NewErrorResult(ctx.Err())
}

// run runs a script, as often as it takes. The server answers a request that is repeated as
// it did the first time.
func (c *call) run(s *script, args []string) (rueidis.RedisMessage, error) {
	slot, request := c.broker.slots.take()
	defer c.broker.slots.give(slot)
	args[0], args[1], args[2], args[3] = c.broker.name, strconv.Itoa(slot), strconv.FormatUint(request, 10), "0"
	key, b := c.broker.key(c.queue), c.broker.client.B()
	for try := 0; ; try++ {
		result := c.send(c, b.Evalsha().Sha1(s.sha).Numkeys(1).Key(key).Arg(args...).Build())
		err := result.Error()
		if e, ok := rueidis.IsRedisErr(err); ok && e.IsNoScript() {
			result = c.send(c, b.Eval().Script(s.text).Numkeys(1).Key(key).Arg(args...).Build())
			err = result.Error()
		}
		if err == nil || rueidis.IsRedisNil(err) {
			message, _ := result.ToMessage() // its error is that it is nil
			return message, nil
		}
		if err = c.again(try, err); err != nil {
			return rueidis.RedisMessage{}, err
		}
		args[3] = "1"
	}
}

// do runs a command that may be repeated.
func (c *call) do(build func(rueidis.Builder) rueidis.Completed) (rueidis.RedisMessage, error) {
	for try := 0; ; try++ {
		result := c.send(c, build(c.broker.client.B()))
		err := result.Error()
		if err == nil || rueidis.IsRedisNil(err) {
			message, _ := result.ToMessage() // its error is that it is nil
			return message, nil
		}
		if err = c.again(try, err); err != nil {
			return rueidis.RedisMessage{}, err
		}
	}
}

// again waits until a request may be tried again after an error, or returns the error if that
// is of no use.
func (c *call) again(try int, err error) error {
	if c.Err() != nil {
		return c.over()
	}
	if lasting(err) {
		return err
	}
	c.failed = err
	if try == 0 {
		return nil // the connection may have been closed while nobody used it
	}
	pause := time.NewTimer(backoff(try))
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-c.Done():
		return c.over()
	}
}

// over says why the method ends, and what it met.
func (c *call) over() error {
	if c.failed != nil {
		return fmt.Errorf("%w (the server cannot be reached: %v)", context.Cause(c), c.failed)
	}
	return context.Cause(c)
}

// backoff grows to a second, and differs from one to the next, so that not all who wait for a
// server come at once.
func backoff(try int) time.Duration {
	limit := min(10*time.Millisecond<<min(try, 10), time.Second)
	return limit/2 + rand.N(limit/2)
}

// passing are the beginnings of what a server says that will be back.
var passing = []string{
	"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY ", "NOREPLICAS", "MOVED", "ASK ", "UNBLOCKED", "UNKILLABLE",
	"ERR max number of clients",
}

// lasting tells whether an error does not go away by waiting.
func lasting(err error) bool {
	if rueidis.IsParseErr(err) {
		return true
	}
	said, ok := rueidis.IsRedisErr(err)
	if !ok {
		var certificate *tls.CertificateVerificationError
		return errors.As(err, &certificate)
	}
	for _, p := range passing {
		// Redis 6 wraps what a command in a script was told.
		if strings.HasPrefix(said.Error(), p) || strings.HasPrefix(said.Error(), "ERR Error running script") && strings.Contains(said.Error(), ": -"+p) {
			return false
		}
	}
	return true
}

// blockTime is how long the server lets a method wait at a time. When there is no answer for
// some seconds after that, the connection is lost, whatever it seems to be.
const (
	blockTime  = 10 * time.Second
	answerSlip = 5 * time.Second
)

// entry is one of a stream: its ID, fields and values.
type entry struct {
	id     string
	fields []rueidis.RedisMessage
}

// readStream returns entries of a stream after one, and waits for them if there are none.
func (c *call) readStream(key, after string, limit int64, wait time.Duration) ([]entry, error) {
	deadline := time.Now().Add(wait)
	for try := 0; ; {
		left := min(time.Until(deadline), blockTime)
		entries, err := c.readOnce(key, after, limit, left)
		switch {
		case err != nil:
			if err = c.again(try, err); err != nil {
				return nil, err
			}
			try++
		case len(entries) > 0 || time.Until(deadline) <= 0:
			return entries, nil
		default:
			try = 0
		}
	}
}

// readOnce is readStream without patience.
func (c *call) readOnce(key, after string, limit int64, wait time.Duration) ([]entry, error) {
	xread := c.broker.client.B().Xread().Count(limit)
	if wait <= 0 {
		return parseStream(c.send(c, xread.Streams().Key(key).Id(after).Build()))
	}
	ctx, cancel := context.WithCancel(c)
	defer cancel()
	lost := time.AfterFunc(wait+answerSlip, cancel)
	defer lost.Stop()
	return parseStream(c.send(ctx, xread.Block(millis(wait)).Streams().Key(key).Id(after).Build()))
}

// parseStream reads an answer to XREAD of one stream, a map or an array of pairs.
func parseStream(result rueidis.RedisResult) ([]entry, error) {
	if err := result.Error(); err != nil {
		if rueidis.IsRedisNil(err) {
			err = nil
		}
		return nil, err
	}
	message, err := result.ToMessage()
	if err != nil {
		return nil, err
	}
	streams, err := message.AsMap()
	if err != nil {
		pairs, err := message.ToArray()
		if err != nil || len(pairs) != 1 {
			return nil, errDamaged
		}
		pair, err := pairs[0].ToArray()
		if err != nil || len(pair) != 2 {
			return nil, errDamaged
		}
		return parseEntries(pair[1])
	}
	for _, stream := range streams {
		return parseEntries(stream)
	}
	return nil, nil
}

// parseEntries reads entries of a stream.
func parseEntries(list rueidis.RedisMessage) ([]entry, error) {
	values, err := list.ToArray()
	if err != nil {
		return nil, errDamaged
	}
	entries := make([]entry, len(values))
	for i := range values {
		pair, err := values[i].ToArray()
		if err != nil || len(pair) != 2 {
			return nil, errDamaged
		}
		if entries[i].id, err = pair[0].ToString(); err != nil {
			return nil, errDamaged
		}
		if entries[i].fields, err = pair[1].ToArray(); err != nil || len(entries[i].fields)%2 != 0 {
			return nil, errDamaged
		}
	}
	return entries, nil
}

// list adds the queue to the list of queues, if this broker has not done so. The list is elsewhere
// in a cluster than the queue, so no script can do both. A server that refuses this may not refuse the rest:
// one without memory lets take what it has.
func (c *call) list() error {
	b := c.broker
	b.mu.Lock()
	known := b.known[c.queue]
	b.mu.Unlock()
	if known {
		return nil
	}
	_, err := c.do(func(build rueidis.Builder) rueidis.Completed {
		return build.Sadd().Key(b.place.prefix + ":queues").Member(c.queue).Build()
	})
	if err != nil {
		if lasting(err) && c.Err() == nil {
			return nil
		}
		return err
	}
	b.mu.Lock()
	b.known[c.queue] = true
	b.mu.Unlock()
	return nil
}

// wrap names the queue in an error.
func wrap(queueName string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("redisq: %w", check.Wrap(queueName, err))
}
