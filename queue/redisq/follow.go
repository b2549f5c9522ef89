package redisq

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// followLimit is how many entries of a topic are read at a time; those of clients have the ends of
// a whole batch each.
const followLimit = 32

// Cursors besides IDs of entries.
const (
	cursorBegin = "0-0"
	cursorEnd   = "end" // of a task without topic, whose end was told
)

// Follow implements queue.Broker.
func (b *Broker) Follow(
	ctx context.Context, queueName string, t queue.Topic, after queue.Cursor, wait time.Duration,
) ([]queue.Event, queue.Cursor, error) {
	events, next, err := b.follow(ctx, queueName, t, after, wait)
	return events, next, wrap(queueName, err)
}

func (b *Broker) follow(
	ctx context.Context, queueName string, t queue.Topic, after queue.Cursor, wait time.Duration,
) ([]queue.Event, queue.Cursor, error) {
	if err := first(check.Queue(queueName), check.Follow(t, wait), checkCursor(after)); err != nil {
		return nil, after, err
	}
	c, err := b.begin(ctx, queueName)
	if err != nil {
		return nil, after, err
	}
	defer c.end()
	if t.Task != "" {
		return c.followTask(t.Task, after, wait)
	}
	key := b.key(queueName) + "ctl"
	if t.Client != "" {
		key = b.key(queueName) + "c:" + t.Client
	}
	if after == queue.Newest {
		next, err := c.newest(key)
		return nil, next, err
	}
	if after == "" {
		after = cursorBegin
	}
	entries, err := c.readStream(key, string(after), followLimit, wait)
	if err != nil {
		return nil, after, err
	}
	return parseTopic(t, entries, after)
}

// checkCursor refuses what is none.
func checkCursor(c queue.Cursor) error {
	if c == "" || c == queue.Newest || c == cursorEnd {
		return nil
	}
	ms, n, _ := strings.Cut(string(c), "-")
	_, err1 := strconv.ParseUint(ms, 10, 64)
	_, err2 := strconv.ParseUint(n, 10, 64)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("%.80q is not a cursor of this broker", string(c))
	}
	return nil
}

// newest returns the end of a topic.
func (c *call) newest(key string) (queue.Cursor, error) {
	answer, err := c.do(func(b rueidis.Builder) rueidis.Completed {
		return b.Xrevrange().Key(key).End("+").Start("-").Count(1).Build()
	})
	if err != nil {
		return queue.Newest, err
	}
	entries, err := parseEntries(answer)
	if err != nil || len(entries) == 0 {
		return cursorBegin, err
	}
	return queue.Cursor(entries[0].id), nil
}

// parseTopic reads events of a client's topic, a task's, or the queue's.
func parseTopic(t queue.Topic, entries []entry, after queue.Cursor) ([]queue.Event, queue.Cursor, error) {
	var events []queue.Event
	for _, e := range entries {
		var head queue.Event // what the ends of a client's tasks have in common
		for i := 0; i < len(e.fields); i += 2 {
			name, err1 := e.fields[i].ToString()
			text, err2 := e.fields[i+1].ToString()
			if first(err1, err2) != nil {
				return nil, after, errDamaged
			}
			if t.Client != "" && name == " " {
				var err error
				if head, err = parseHead(text); err != nil {
					return nil, after, err
				}
				continue
			}
			event, err := parseField(t, head, name, text)
			if err != nil {
				return nil, after, err
			}
			events = append(events, event)
		}
		after = queue.Cursor(e.id)
	}
	return events, after, nil
}

func parseField(t queue.Topic, head queue.Event, name, text string) (queue.Event, error) {
	switch {
	case t.Client != "" && head.Kind == queue.EventEnd:
		head.ID, head.Data = name, []byte(text)
		return head, nil
	case t.Client == "" && t.Task == "":
		return queue.Event{Kind: queue.EventCancel, ID: text}, nil
	case t.Task != "" && name == "l":
		return queue.Event{Kind: queue.EventLog, ID: t.Task, Data: []byte(text)}, nil
	case t.Task != "" && name == "e":
		line, outcome, _ := strings.Cut(text, "\n")
		end, err := parseHead(line)
		end.ID, end.Data = t.Task, []byte(outcome)
		return end, err
	}
	return queue.Event{}, errDamaged
}

// followTask follows the topic of a task, which is made when there is something to be said to
// somebody: of a task that was silent there is its end, or that it is not known.
func (c *call) followTask(id string, after queue.Cursor, wait time.Duration) ([]queue.Event, queue.Cursor, error) {
	for deadline := time.Now().Add(wait); ; {
		left := max(0, time.Until(deadline))
		answer, err := c.run(followScript, append(arguments(3), id, string(after), strconv.FormatInt(millis(left), 10)))
		if err != nil {
			return nil, after, err
		}
		events, next, more, err := parseFollowed(id, answer, after)
		if err != nil || len(events) > 0 || left == 0 || after == queue.Newest {
			return events, next, err
		}
		after = next
		if !more {
			return nil, after, c.sleep(left)
		}
		// The end of a task may be that it is forgotten, which nothing tells, so the script asks again.
		if _, err := c.readStream(c.broker.key(c.queue)+"t:"+id, streamCursor(after), 1, min(left, forgetTime)); err != nil {
			return nil, after, err
		}
	}
}

// forgetTime is how long it takes at most to notice that a task was forgotten.
const forgetTime = time.Second

func streamCursor(c queue.Cursor) string {
	if c == "" || c == cursorEnd {
		return cursorBegin
	}
	return string(c)
}

// sleep waits, where nothing can come any more.
func (c *call) sleep(d time.Duration) error {
	pause := time.NewTimer(d)
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-c.Done():
		return c.over()
	}
}

// parseFollowed reads what the script says, and whether more may come.
func parseFollowed(id string, answer rueidis.RedisMessage, after queue.Cursor) (events []queue.Event, next queue.Cursor, more bool, err error) {
	parts, err := answer.ToArray()
	if err != nil || len(parts) == 0 {
		return nil, after, false, errDamaged
	}
	what, err := parts[0].ToString()
	if err != nil || (len(parts) < 2 && what != "unknown") {
		return nil, after, false, errDamaged
	}
	if what == "events" {
		entries, err := parseEntries(parts[1])
		if err != nil {
			return nil, after, false, err
		}
		events, next, err = parseTopic(queue.Topic{Task: id}, entries, after)
		return events, next, true, err
	}
	if what == "unknown" {
		return []queue.Event{{Kind: queue.EventEnd, ID: id, State: queue.StateUnknown}}, cursorEnd, false, nil
	}
	text, err := parts[1].ToString()
	if err != nil {
		return nil, after, false, errDamaged
	}
	if what != "ended" {
		return nil, queue.Cursor(text), what == "wait", nil
	}
	end, err := parseEnding(text)
	if err != nil {
		return nil, after, false, fmt.Errorf("the end of task %q: %w", id, err)
	}
	return []queue.Event{end.event(id)}, cursorEnd, false, nil
}
