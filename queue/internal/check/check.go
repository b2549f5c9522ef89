// Package check holds what brokers are asked against the contract of queue.Broker, so
// that all of them refuse the same, in the same words. Its errors say what is wrong;
// brokers add the name of the queue, with Wrap.
package check

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/afar-go/afar/queue"
)

// Bounds of what brokers take.
const (
	MaxName    = 128                    // bytes of IDs and names
	MaxLabel   = 256                    // bytes of a task's label
	MaxTask    = 256 << 10              // bytes of a task, by Size
	MaxOutcome = 256 << 10              // bytes of an outcome
	MaxError   = 64 << 10               // bytes of an attempt's error
	MaxRecord  = 64 << 10               // bytes of a log record
	MinLease   = 100 * time.Millisecond // of Take and Renew
)

// Wrap makes an error one of a queue, and leaves nil as it is.
func Wrap(queueName string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("queue %q: %w", queueName, err)
}

// Queue checks the name of a queue.
func Queue(name string) error { return named("name of the queue", name) }

// Size returns how many bytes of MaxTask a task needs.
func Size(t *queue.Task) int {
	n := len(t.ID) + len(t.Label) + len(t.Body) + len(t.Group) + len(t.Client)
	for _, b := range t.Blobs {
		n += len(b)
	}
	return n
}

// Tasks checks what is submitted.
func Tasks(tasks []queue.Task) error {
	for i := range tasks {
		if err := task(&tasks[i]); err != nil {
			return err
		}
	}
	return nil
}

func task(t *queue.Task) error {
	if err := named("ID of a task", t.ID); err != nil {
		return err
	}
	return about(t.ID, first(
		optional("group", t.Group),
		optional("client", t.Client),
		atMost("label", len(t.Label), MaxLabel),
		atMost("task", Size(t), MaxTask),
		priority(t.Priority),
		notNegative("delay", t.Delay),
		notNegative("retention", t.Retention),
		hashes(t.Blobs),
	))
}

// Take checks a request for deliveries.
func Take(r queue.TakeRequest) error {
	if r.Max < 1 {
		return fmt.Errorf("%d deliveries cannot be taken: Max is at least 1", r.Max)
	}
	return first(named("name of the worker", r.Worker), leaseTime(r.Lease), notNegative("wait", r.Wait))
}

// Renew checks signs of life.
func Renew(worker string, beats []queue.Beat) error {
	if err := named("name of the worker", worker); err != nil {
		return err
	}
	for i := range beats {
		b := &beats[i]
		if err := named("ID of a task", b.ID); err != nil {
			return err
		}
		if err := about(b.ID, first(leaseTime(b.For), records(b.Log))); err != nil {
			return err
		}
	}
	return nil
}

// Settle checks settlements.
func Settle(ends []queue.Settlement) error {
	for i := range ends {
		if err := settlement(&ends[i]); err != nil {
			return err
		}
	}
	return nil
}

func settlement(e *queue.Settlement) error {
	if err := named("ID of a task", e.ID); err != nil {
		return err
	}
	if e.Ending < queue.EndDone || e.Ending > queue.EndRelease {
		return about(e.ID, fmt.Errorf("there is no ending %d", e.Ending))
	}
	return about(e.ID, first(
		named("name of the worker", e.Worker),
		atMost("outcome", len(e.Outcome), MaxOutcome),
		atMost("error", len(e.Error), MaxError),
		notNegative("delay", e.Delay),
		records(e.Log),
		hashes(e.Blobs),
	))
}

// Follow checks what is to be followed, for how long.
func Follow(t queue.Topic, wait time.Duration) error {
	if t.Task != "" && t.Client != "" {
		return errors.New("a topic is that of a task or that of a client, not both")
	}
	return first(optional("ID of the task", t.Task), optional("name of the client", t.Client), notNegative("wait", wait))
}

// Query checks what is wanted.
func Query(q queue.Query) error {
	if q.Limit < 0 {
		return fmt.Errorf("the limit of %d tasks is negative", q.Limit)
	}
	if q.State > queue.StateCanceled {
		return fmt.Errorf("there is no state %d", q.State)
	}
	return names(q.IDs)
}

// Change checks what an operator asks for.
func Change(c queue.Change) error {
	switch {
	case c.Verb < queue.Cancel || c.Verb > queue.Leave:
		return fmt.Errorf("there is no verb %d", c.Verb)
	case c.Verb == queue.Leave:
		return named("name of the worker", c.Worker)
	}
	return first(names(c.IDs), atMost("outcome", len(c.Outcome), MaxOutcome))
}

// Blob checks the hash of a blob, and for how long it is to be kept.
func Blob(hash string, keep time.Duration) error {
	return first(hashes([]string{hash}), notNegative("keeping", keep))
}

// names checks IDs.
func names(ids []string) error {
	for _, id := range ids {
		if err := named("ID of a task", id); err != nil {
			return err
		}
	}
	return nil
}

// named checks an ID or a name.
func named(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the %s is empty", what)
	case len(name) > MaxName:
		return fmt.Errorf("the %s has %d bytes: at most %d", what, len(name), MaxName)
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return fmt.Errorf("the %s %q has other bytes than printable ASCII without spaces", what, name)
		}
	}
	return nil
}

// optional checks a name that may be empty.
func optional(what, name string) error {
	if name == "" {
		return nil
	}
	return named(what, name)
}

func priority(p queue.Priority) error {
	if p < queue.Low || p > queue.High {
		return fmt.Errorf("there is no priority %d", p)
	}
	return nil
}

func leaseTime(d time.Duration) error {
	if d < MinLease {
		return fmt.Errorf("the lease of %v is too short: at least %v", d, MinLease)
	}
	return nil
}

func notNegative(what string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("the %s of %v is negative", what, d)
	}
	return nil
}

func atMost(what string, n, limit int) error {
	if n > limit {
		return fmt.Errorf("the %s is too large: %d bytes, at most %d", what, n, limit)
	}
	return nil
}

func records(log [][]byte) error {
	for _, r := range log {
		if err := atMost("log record", len(r), MaxRecord); err != nil {
			return err
		}
	}
	return nil
}

// hashes checks names of blobs.
func hashes(all []string) error {
	for _, h := range all {
		if len(h) != 64 || strings.Trim(h, "0123456789abcdef") != "" {
			return fmt.Errorf("the blob's name %.80q is not a SHA-256 in hexadecimal", h)
		}
	}
	return nil
}

// about says which task an error is about.
func about(id string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("task %q: %w", id, err)
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
