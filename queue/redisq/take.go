package redisq

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// Take implements queue.Broker.
func (b *Broker) Take(ctx context.Context, queueName string, r queue.TakeRequest) ([]queue.Delivery, error) {
	deliveries, err := b.take(ctx, queueName, r)
	return deliveries, wrap(queueName, err)
}

func (b *Broker) take(ctx context.Context, queueName string, r queue.TakeRequest) ([]queue.Delivery, error) {
	if err := first(check.Queue(queueName), check.Take(r)); err != nil {
		return nil, err
	}
	c, err := b.begin(ctx, queueName)
	if err != nil {
		return nil, err
	}
	defer c.end()
	if err := c.list(); err != nil {
		return nil, err
	}
	listens := millis(r.Wait)
	for deadline := time.Now().Add(r.Wait); ; {
		t, err := c.takeOnce(r, listens)
		if err != nil || len(t.deliveries) > 0 {
			return t.deliveries, err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, nil
		}
		listens = -1 // it has said so
		if t.due >= 0 {
			left = min(left, t.due+time.Millisecond)
		}
		if _, err := c.readStream(b.key(queueName)+"bell", t.bell, 1, left); err != nil {
			return nil, err
		}
	}
}

// taken is what one call of the script gives.
type taken struct {
	deliveries []queue.Delivery
	due        time.Duration // until something is to happen; negative: nothing is
	bell       string        // where a wait begins that misses nothing
}

// takeLinger is how long a Take waits for what it has asked for already when its context ends. What was
// leased would else be nobody's until the leases end.
const takeLinger = 2 * time.Second

// takeOnce takes what there is.
func (c *call) takeOnce(r queue.TakeRequest, listens int64) (t taken, err error) {
	args := append(arguments(4), r.Worker, strconv.Itoa(min(r.Max, maxBatch)), strconv.FormatInt(millis(r.Lease), 10), strconv.FormatInt(listens, 10))
	c.linger = takeLinger
	answer, err := c.run(takeScript, args)
	c.linger = 0
	if err != nil {
		return t, err
	}
	parts, err := answer.ToArray()
	if err != nil || len(parts) != 5 {
		return t, errDamaged
	}
	if t.deliveries, err = parseDeliveries(parts[0], parts[1]); err != nil {
		return t, err
	}
	if bad, _ := parts[2].AsStrSlice(); len(bad) > 0 && len(t.deliveries) == 0 {
		return t, fmt.Errorf("task %q: %w", bad[0], errDamaged)
	}
	due, err := parts[3].AsInt64()
	if err != nil {
		return t, errDamaged
	}
	t.due = time.Duration(due) * time.Millisecond
	t.bell, err = parts[4].ToString()
	return t, err
}

// parseDeliveries reads pairs of ID and record, and lists of ID and attempts.
func parseDeliveries(given, pasts rueidis.RedisMessage) ([]queue.Delivery, error) {
	pairs, err := given.ToArray()
	if err != nil || len(pairs)%2 != 0 {
		return nil, errDamaged
	}
	if len(pairs) == 0 {
		return nil, nil
	}
	deliveries := make([]queue.Delivery, 0, len(pairs)/2)
	var r record
	for i := 0; i < len(pairs); i += 2 {
		id, err1 := pairs[i].ToString()
		text, err2 := pairs[i+1].ToString()
		if err := first(err1, err2); err != nil {
			return nil, err
		}
		if err := r.parse(text); err != nil {
			return nil, fmt.Errorf("task %q: %w", id, err)
		}
		deliveries = append(deliveries, queue.Delivery{Task: r.task(id), Token: r.token, Attempt: r.attempt})
	}
	return deliveries, addPasts(deliveries, pasts)
}

// addPasts gives deliveries the attempts before them.
func addPasts(deliveries []queue.Delivery, pasts rueidis.RedisMessage) error {
	lists, err := pasts.ToArray()
	if err != nil || len(lists) == 0 {
		return err
	}
	byID := map[string][]queue.Attempt{}
	for i := range lists {
		list, err := lists[i].ToArray()
		if err != nil || len(list) == 0 {
			return errDamaged
		}
		id, err := list[0].ToString()
		if err != nil {
			return errDamaged
		}
		if byID[id], err = parseAttempts(list[1:]); err != nil {
			return fmt.Errorf("attempts of task %q: %w", id, err)
		}
	}
	for i := range deliveries {
		deliveries[i].Past = byID[deliveries[i].ID]
	}
	return nil
}

func parseAttempts(list []rueidis.RedisMessage) ([]queue.Attempt, error) {
	attempts := make([]queue.Attempt, len(list))
	for i := range list {
		text, err := list[i].ToString()
		if err != nil {
			return nil, errDamaged
		}
		if attempts[i], err = parseAttempt(text); err != nil {
			return nil, err
		}
	}
	return attempts, nil
}
