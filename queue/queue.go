package queue

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/afar-go/afar"
)

// Queue is a named line of tasks at a broker. It is also an afar.Runner: a function runs
// On it, and maps over it, as on a pool, by whoever works for the queue. Its methods may
// be called concurrently. It has nothing to be closed, and is gone with its broker.
type Queue struct {
	broker  Broker
	name    string
	bad     error // what is wrong with the name
	submits batcher[Task, bool]
	states  batcher[string, TaskState]
	ear     *ear
	signer  *signer // nil: tasks are not signed
}

// New returns a queue of a broker. Queues come to be by being used: an error of the name
// (1 to 128 bytes of printable ASCII without spaces), or of the broker, is one of
// the first that uses it.
func New(b Broker, name string) *Queue {
	q := &Queue{broker: b, name: name, bad: checkName("the name of the queue", name)}
	if b == nil && q.bad == nil {
		q.bad = errors.New("queue: New with a nil Broker")
	}
	q.submits = batcher[Task, bool]{max: maxBatch, parallel: 2, do: func(ctx context.Context, tasks []Task) ([]bool, error) {
		return b.Submit(ctx, name, tasks)
	}}
	q.states = batcher[string, TaskState]{max: maxBatch, parallel: 2, do: func(ctx context.Context, ids []string) ([]TaskState, error) {
		report, err := b.Inspect(ctx, name, Query{IDs: ids, Limit: len(ids)})
		if err != nil {
			return nil, err
		}
		return report.Tasks, nil
	}}
	q.ear = newEar(q)
	return q
}

// maxBatch is how many tasks one request to a broker has at most.
const maxBatch = 512

// Name returns the queue's name.
func (q *Queue) Name() string { return q.name }

// inline is how large an input or output may be to travel inside its task; a larger one
// goes to the broker's blobs.
const inline = 64 << 10

// keepUnused is how long blobs are kept that no task has named yet, or names any more.
const keepUnused = time.Hour

// errCaught ends a call that was only wanted for what it says.
var errCaught = errors.New("queue: caught")

// submit stores a task, and tells whether its ID was known.
func (q *Queue) submit(ctx context.Context, call *afar.Call, s *submission) (known bool, err error) {
	if q.bad != nil {
		return false, q.bad
	}
	if s.required {
		if err := q.requireWorker(ctx); err != nil {
			return false, err
		}
	}
	t := Task{ID: s.id, Random: s.random, Label: cmp.Or(s.label, label(call.Function)), Priority: s.priority, Group: s.group,
		Client: q.ear.client, Delay: s.delay, Retention: s.retention}
	o := order{Function: call.Function, Key: call.Key, Header: headers(ctx, call), Timeout: s.timeout,
		Attempts: s.attempts, Insist: s.insist, Pauses: s.pauses, Input: call.Input}
	if len(o.Input) > inline {
		if o.Blob, err = q.put(ctx, o.Input); err != nil {
			return false, cause(ctx, err)
		}
		o.Input, t.Blobs = nil, []string{o.Blob}
	}
	if q.signer != nil && call.Function != commandName { // commands need no program
		if o.Programs, err = q.signer.bring(ctx); err != nil {
			return false, cause(ctx, err)
		}
		t.Blobs = append(t.Blobs, hashes(o.Programs)...)
	}
	t.Body = o.append(make([]byte, 0, len(o.Input)+len(o.Key)+len(o.Function)+64))
	if q.signer != nil {
		if t.Body, err = q.signer.sign(t.ID, t.Body); err != nil {
			return false, err
		}
	}
	if len(t.Body) > maxBody {
		return false, &tooLarge{len(t.Body) - len(o.Input)}
	}
	q.ear.submit()
	return q.submits.ask(ctx, t)
}

// tooLarge refuses a task whose headers do not fit.
type tooLarge struct{ size int }

func (e *tooLarge) Error() string {
	return fmt.Sprintf("its headers and its name have %d bytes; %d are the most", e.size, maxBody-inline)
}
func (e *tooLarge) Is(target error) bool { return target == afar.ErrTooLarge }

// maxBody is how large a task's body may be, which leaves room for its other fields.
const maxBody = 200 << 10

// label is a function's name as far as brokers keep it.
func label(function string) string { return function[max(0, len(function)-maxLabel):] }

// put keeps bytes among the queue's blobs.
func (q *Queue) put(ctx context.Context, b []byte) (hash string, err error) {
	sum := sha256.Sum256(b)
	hash = hex.EncodeToString(sum[:])
	blobs := q.broker.Blobs(q.name)
	if there, err := blobs.Keep(ctx, hash, keepUnused); err != nil || there {
		return hash, err
	}
	return hash, blobs.Put(ctx, hash, int64(len(b)), bytes.NewReader(b), keepUnused)
}

// requireWorker tells whether somebody listens.
func (q *Queue) requireWorker(ctx context.Context) error {
	stats, err := q.Stats(ctx)
	if err == nil && len(stats.Workers) == 0 {
		err = ErrNoWorkers
	}
	return err
}
