package redisq

import (
	"context"
	"strconv"
	"strings"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// Bounds of one call of a script, so that the server has time for others too.
const (
	maxBatch      = 500
	maxBatchBytes = 1 << 20
)

// Submit implements queue.Broker.
func (b *Broker) Submit(ctx context.Context, queueName string, tasks []queue.Task) ([]bool, error) {
	known, err := b.submit(ctx, queueName, tasks)
	return known, wrap(queueName, err)
}

func (b *Broker) submit(ctx context.Context, queueName string, tasks []queue.Task) ([]bool, error) {
	if err := first(check.Queue(queueName), check.Tasks(tasks)); err != nil {
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
	known := make([]bool, 0, len(tasks))
	for len(tasks) > 0 {
		n := batch(len(tasks), func(i int) int { return check.Size(&tasks[i]) })
		answer, err := c.run(submitScript, submitArguments(tasks[:n]))
		if err != nil {
			return nil, err
		}
		said, err := answer.ToString()
		if err != nil || len(said) != n {
			return nil, errDamaged
		}
		for _, k := range []byte(said) {
			known = append(known, k == '1')
		}
		tasks = tasks[n:]
	}
	return known, nil
}

// batch returns how many of n items, at least one, are for one call of a script.
func batch(n int, size func(int) int) int {
	bytes := 0
	for i := range min(n, maxBatch) {
		if bytes += size(i); bytes > maxBatchBytes && i > 0 {
			return i
		}
	}
	return min(n, maxBatch)
}

// submitArguments makes runs of tasks that have most in common.
func submitArguments(tasks []queue.Task) []string {
	args := arguments(2*len(tasks) + 16)
	texts := newTexts(tasks)
	for len(tasks) > 0 {
		n := 1
		for n < len(tasks) && alike(&tasks[0], &tasks[n]) {
			n++
		}
		t := &tasks[0]
		args = append(args, strconv.Itoa(n), strconv.Itoa(int(t.Priority)+1), t.Group, strconv.FormatInt(millis(t.Delay), 10),
			flag(!t.Random), flag(len(t.Blobs) > 0))
		for i := range n {
			args = append(args, tasks[i].ID, texts.record(&tasks[i]))
		}
		tasks = tasks[n:]
	}
	return args
}

func alike(a, b *queue.Task) bool {
	return a.Priority == b.Priority && a.Group == b.Group && a.Delay == b.Delay && a.Random == b.Random &&
		(len(a.Blobs) > 0) == (len(b.Blobs) > 0)
}

func flag(is bool) string {
	if is {
		return "1"
	}
	return "0"
}

// texts makes strings that are parts of one, so that a batch has one allocation. What a
// caller gave is copied, since a request that is given up may be written still.
type texts struct {
	text    strings.Builder
	scratch []byte
}

// recordOverhead is what a header has besides names, about.
const recordOverhead = 64

func newTexts(tasks []queue.Task) *texts {
	size := 0
	for i := range tasks {
		size += check.Size(&tasks[i]) + recordOverhead
	}
	t := &texts{}
	t.text.Grow(size)
	return t
}

// record is that of a task.
func (t *texts) record(task *queue.Task) string {
	t.scratch = appendRecord(t.scratch[:0], task)
	return t.add(t.scratch)
}

// add returns bytes as a string.
func (t *texts) add(b []byte) string {
	if t.text.Cap()-t.text.Len() < len(b) {
		return string(b) // a builder that grows would move what was given out, which is harmless but slow
	}
	begin := t.text.Len()
	t.text.Write(b)
	return t.text.String()[begin:]
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
