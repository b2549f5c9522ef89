package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/afar-go/afar/queue"
)

// againAfter is how long a node waits before it works again for a queue whose broker has
// failed.
const againAfter = 5 * time.Second

// work works for the node's queues until ctx ends and their tasks have ended, or the node
// is closed.
func (n *Node) work(ctx context.Context) {
	p := &programs{node: n, workers: n.config.QueueWorkers, warm: map[program]*warm{}}
	defer p.close()
	var working sync.WaitGroup
	defer working.Wait()
	for _, q := range n.config.Queues {
		working.Go(func() { n.workFor(ctx, q, p) })
	}
}

// workFor works for one queue.
func (n *Node) workFor(ctx context.Context, q *queue.Queue, p *programs) {
	log := n.config.Log.With("queue", q.Name())
	for {
		log.Info("working for a queue", "tasks", n.config.QueueWorkers)
		err := q.Work(ctx, queue.WorkConfig{Concurrency: n.config.QueueWorkers, Programs: p, Drain: max(n.config.DrainTimeout, 0), Log: log})
		if ctx.Err() != nil {
			return
		}
		log.Error("the queue failed", "error", err, "again after", againAfter)
		timer := time.NewTimer(againAfter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// checkQueues refuses queues without what it takes to know their submitters.
func (c *Config) checkQueues() error {
	if len(c.Queues) > 0 && c.Authorized == "" {
		return fmt.Errorf("to work for queues, such as %s, it needs the path of authorized_keys", c.Queues[0].Name())
	}
	return nil
}
