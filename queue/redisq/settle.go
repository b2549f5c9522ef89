package redisq

import (
	"context"
	"fmt"
	"strconv"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// Settle implements queue.Broker.
func (b *Broker) Settle(ctx context.Context, queueName string, ends []queue.Settlement) ([]queue.Hold, error) {
	holds, err := b.settle(ctx, queueName, ends)
	return holds, wrap(queueName, err)
}

func (b *Broker) settle(ctx context.Context, queueName string, ends []queue.Settlement) ([]queue.Hold, error) {
	if err := first(check.Queue(queueName), check.Settle(ends)); err != nil {
		return nil, err
	}
	c, err := b.begin(ctx, queueName)
	if err != nil {
		return nil, err
	}
	defer c.end()
	holds := make([]queue.Hold, 0, len(ends))
	for len(ends) > 0 {
		n := settleBatch(ends)
		answer, err := c.run(settleScript, settleArguments(ends[:n]))
		if err != nil {
			return nil, err
		}
		said, err := answer.ToString()
		if err != nil || len(said) != n {
			return nil, errDamaged
		}
		for i, h := range []byte(said) {
			if h == '0' {
				return nil, fmt.Errorf("task %q: %w", ends[i].ID, errDamaged)
			}
			holds = append(holds, queue.Hold(h-'0'))
		}
		ends = ends[n:]
	}
	return holds, nil
}

// settleBatch returns how many settlements are for one call of the script: those of one worker,
// and no more arguments than a script can pass on.
func settleBatch(ends []queue.Settlement) int {
	args := 0
	n := batch(len(ends), func(i int) int {
		e := &ends[i]
		if args += 9 + len(e.Log) + len(e.Blobs); args > 10*maxBatch {
			return maxBatchBytes + 1
		}
		return settleSize(e)
	})
	for i := 1; i < n; i++ {
		if ends[i].Worker != ends[0].Worker {
			return i
		}
	}
	return n
}

func settleSize(e *queue.Settlement) int {
	size := len(e.Outcome) + len(e.Error)
	for _, record := range e.Log {
		size += len(record)
	}
	return size
}

// settleArguments makes runs of plain settlements that have token and ending in common, and others one by one.
func settleArguments(ends []queue.Settlement) []string {
	args := append(arguments(16+2*len(ends)), ends[0].Worker)
	size := 0
	for i := range ends {
		size += settleSize(&ends[i])
	}
	var t texts
	t.text.Grow(size)
	for len(ends) > 0 {
		e := &ends[0]
		token, ending := strconv.FormatUint(e.Token, 10), strconv.Itoa(int(e.Ending))
		n := plainRun(ends)
		if n == 0 {
			args = append(args, "full", e.ID, token, ending, strconv.FormatInt(millis(e.Delay), 10), t.add(e.Outcome), t.add(e.Error),
				strconv.Itoa(len(e.Log)), strconv.Itoa(len(e.Blobs)))
			for _, record := range e.Log {
				args = append(args, t.add(record))
			}
			args = append(args, e.Blobs...)
			ends = ends[1:]
			continue
		}
		args = append(args, "plain", token, ending, strconv.Itoa(n))
		for i := range n {
			args = append(args, ends[i].ID, t.add(ends[i].Outcome))
		}
		ends = ends[n:]
	}
	return args
}

// plainRun returns how many settlements from the first on are alike and have no more than an outcome.
func plainRun(ends []queue.Settlement) int {
	n := 0
	for n < len(ends) && plain(&ends[n]) && ends[n].Token == ends[0].Token && ends[n].Ending == ends[0].Ending {
		n++
	}
	return n
}

func plain(e *queue.Settlement) bool {
	return (e.Ending == queue.EndDone || e.Ending == queue.EndFailed || e.Ending == queue.EndCanceled) && len(e.Log) == 0 && len(e.Blobs) == 0
}

// Renew implements queue.Broker.
func (b *Broker) Renew(ctx context.Context, queueName, worker string, beats []queue.Beat) ([]queue.Hold, error) {
	holds, err := b.renew(ctx, queueName, worker, beats)
	return holds, wrap(queueName, err)
}

func (b *Broker) renew(ctx context.Context, queueName, worker string, beats []queue.Beat) ([]queue.Hold, error) {
	if err := first(check.Queue(queueName), check.Renew(worker, beats)); err != nil {
		return nil, err
	}
	c, err := b.begin(ctx, queueName)
	if err != nil {
		return nil, err
	}
	defer c.end()
	holds := make([]queue.Hold, 0, len(beats))
	for {
		n := renewBatch(beats)
		answer, err := c.run(renewScript, renewArguments(worker, beats[:n]))
		if err != nil {
			return nil, err
		}
		said, err := answer.ToString()
		if err != nil || len(said) != n {
			return nil, errDamaged
		}
		for _, h := range []byte(said) {
			holds = append(holds, queue.Hold(h-'0'))
		}
		if beats = beats[n:]; len(beats) == 0 {
			return holds, nil
		}
	}
}

func renewBatch(beats []queue.Beat) int {
	return batch(len(beats), func(i int) int {
		size := 0
		for _, record := range beats[i].Log {
			size += len(record)
		}
		return size
	})
}

func renewArguments(worker string, beats []queue.Beat) []string {
	args := append(arguments(1+6*len(beats)), worker)
	for i := range beats {
		e := &beats[i]
		args = append(args, e.ID, strconv.FormatUint(e.Token, 10), strconv.FormatInt(millis(e.For), 10),
			strconv.FormatInt(e.Progress[0], 10), strconv.FormatInt(e.Progress[1], 10), strconv.Itoa(len(e.Log)))
		for _, record := range e.Log {
			args = append(args, string(record))
		}
	}
	return args
}
