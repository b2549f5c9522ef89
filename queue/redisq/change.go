package redisq

import (
	"context"
	"strconv"
	"strings"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// verbs as the script calls them.
var verbs = map[queue.Verb]string{
	queue.Cancel: "cancel", queue.Requeue: "requeue", queue.Drop: "drop", queue.Purge: "purge",
	queue.Pause: "pause", queue.Resume: "resume", queue.Leave: "leave",
}

// Change implements queue.Broker.
func (b *Broker) Change(ctx context.Context, queueName string, change queue.Change) (int, error) {
	n, err := b.change(ctx, queueName, change)
	return n, wrap(queueName, err)
}

func (b *Broker) change(ctx context.Context, queueName string, change queue.Change) (int, error) {
	if err := first(check.Queue(queueName), check.Change(change)); err != nil {
		return 0, err
	}
	c, err := b.begin(ctx, queueName)
	if err != nil {
		return 0, err
	}
	defer c.end()
	if change.Verb == queue.Pause {
		if err := c.list(); err != nil {
			return 0, err
		}
	}
	if len(change.IDs) == 0 {
		if change.Verb == queue.Cancel {
			return 0, nil
		}
		return c.changeAll(change)
	}
	count := 0
	for ids := change.IDs; len(ids) > 0; {
		some := ids[:min(len(ids), maxBatch)]
		n, _, err := c.changeOnce(change, some)
		if err != nil {
			return count, err
		}
		count, ids = count+n, ids[len(some):]
	}
	return count, nil
}

// changeAll changes what there is, some tasks at a time, so that others have their turn.
func (c *call) changeAll(change queue.Change) (int, error) {
	for count := 0; ; {
		n, more, err := c.changeOnce(change, nil)
		count += n
		if err != nil || !more {
			return count, err
		}
	}
}

// changeOnce calls the script, and returns how many tasks it concerned and whether there are more.
func (c *call) changeOnce(change queue.Change, ids []string) (n int, more bool, err error) {
	args := append(arguments(3+len(ids)), verbs[change.Verb], string(change.Outcome), change.Worker)
	answer, err := c.run(changeScript, append(args, ids...))
	if err != nil {
		return 0, false, err
	}
	text, err := answer.ToString()
	if err != nil {
		return 0, false, errDamaged
	}
	text, more = strings.CutPrefix(text, "-")
	if n, err = strconv.Atoi(text); err != nil {
		return 0, false, errDamaged
	}
	return n, more, nil
}
