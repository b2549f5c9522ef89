package redisq

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// Keys, after prefix:{queue}: where the scripts make them.
//
//	meta           hash: seq (the last number), waiting, delayed, running, paused; 4, 5, 7 (how many ended so)
//	tasks          hash: ID to record
//	l:P:G back:P:G lane of priority P (2 high, 1, 0 low) and group G: list of new IDs, set of those that came back
//	turn:P         list of groups that have a lane
//	gone           hash: ID of a canceled task that is still in a list, to its lane
//	due            set of what is to happen, by time in ms: d ID (delay), t token (leases of a Take), l ID (a lease of its own)
//	delayed e:S    sets of IDs that are delayed or ended in state S, in order; forget: when the latter are forgotten
//	takes k:TOKEN  of a Take: how many of its leases are left, their IDs
//	busy w         leases and time of those who listen, by worker
//	p:ID notes     attempts of a task; ends of its deliveries
//	o:ID           what is kept of a task that ended; y:ID: blobs of a dead one's outcome
//	progress unwanted  by ID: done and total; the outcome of a task to be canceled
//	c:CLIENT n:CLIENT t:ID ctl  topics of clients, with the number of events; of tasks; of the queue
//	watch          IDs whose topics are followed, until when
//	bell           what waiting takers block on
//	s:BROKER       hash: slot to request and answer
//	x:HASH up:NAME refs  blobs; those that are being put; how many tasks name them
//
// A record has a line for what changes, 16 digits (the number with which it came into its state, from the
// clock in µs), a line for what does not, the label, blobs and body. The first line of a task that was never given to anybody is
// its state (w waiting, d delayed); of others: state (r running, x dead), token, number at submission (0: the
// same), attempt, started (ms), flags, =worker. The other line: retention (ms), priority, length of the
// label, number of blobs, =client, =group, each after a space. Flags begin with -: l has a log, p has
// attempts, o has a lease of its own, u unwanted, t has notes, g has progress.
const (
	numberSize = 16
	hashSize   = 64
)

var errDamaged = errors.New("what is stored is damaged")

// appendRecord adds a new record to b, from what follows its number.
func appendRecord(b []byte, t *queue.Task) []byte {
	b = append(b, ' ')
	b = strconv.AppendInt(b, millis(t.Retention), 10)
	b = append(b, ' ', byte('1'+t.Priority), ' ')
	b = strconv.AppendInt(b, int64(len(t.Label)), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(t.Blobs)), 10)
	b = append(b, " ="...)
	b = append(b, t.Client...)
	b = append(b, " ="...)
	b = append(b, t.Group...)
	b = append(b, '\n')
	b = append(b, t.Label...)
	for _, hash := range t.Blobs {
		b = append(b, hash...)
	}
	return append(b, t.Body...)
}

// millis rounds up, so that what takes time takes some.
func millis(d time.Duration) int64 {
	n := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		n++
	}
	return n
}

// life is the first line of a record.
type life struct {
	text    string // what was parsed
	state   byte
	token   uint64
	born    int64 // µs; 0: the record's number
	attempt int
	started int64 // ms
	flags   string
	worker  string
}

// parse reads one. That which is like the last costs nothing, as in most batches.
func (l *life) parse(text string) error {
	switch {
	case text == "":
		return errDamaged
	case l.text == text:
		return nil
	case len(text) == 1:
		*l = life{text: text, state: text[0]}
		return nil
	case text[1] != ' ':
		return errDamaged
	}
	f := fields{rest: text[2:]}
	parsed := life{text: text, state: text[0], token: f.unsigned(), born: f.number(), attempt: int(f.number()), started: f.number(),
		flags: f.next(), worker: f.quoted()}
	if f.bad || f.rest != "" {
		return errDamaged
	}
	*l = parsed
	return nil
}

// kind is the other line of a record.
type kind struct {
	text      string // what was parsed
	retention time.Duration
	priority  queue.Priority
	label     int
	blobs     int
	client    string
	group     string
}

// parse reads one. That which is like the last costs nothing, as in most batches.
func (k *kind) parse(text string) error {
	if k.text == text && text != "" {
		return nil
	}
	f := fields{rest: strings.TrimPrefix(text, " ")}
	parsed := kind{text: text, retention: time.Duration(f.number()) * time.Millisecond, priority: queue.Priority(f.number() - 1),
		label: int(f.number()), blobs: int(f.number()), client: f.quoted(), group: f.quoted()}
	if f.bad || f.rest != "" || parsed.label < 0 || parsed.label > check.MaxLabel || parsed.blobs < 0 || parsed.blobs > check.MaxTask/hashSize {
		return errDamaged
	}
	*k = parsed
	return nil
}

// record is one that was parsed. The strings are parts of what was parsed, and what was learnt is
// of use for the next.
type record struct {
	life
	kind
	number int64
	labels string
	hashes string
	body   string
}

// parse reads a record.
func (r *record) parse(text string) error {
	first, rest, found1 := strings.Cut(text, "\n")
	second, rest, found2 := strings.Cut(rest, "\n")
	if !found1 || !found2 || len(second) < numberSize || r.life.parse(first) != nil || r.kind.parse(second[numberSize:]) != nil {
		return errDamaged
	}
	number, err := strconv.ParseInt(second[:numberSize], 10, 64)
	if err != nil || len(rest) < r.label+r.blobs*hashSize {
		return errDamaged
	}
	r.number, r.labels, rest = number, rest[:r.label], rest[r.label:]
	r.hashes, r.body = rest[:r.blobs*hashSize], rest[r.blobs*hashSize:]
	return nil
}

// task makes a task of the record.
func (r *record) task(id string) queue.Task {
	t := queue.Task{ID: id, Label: r.labels, Body: []byte(r.body), Priority: r.priority, Group: r.group, Client: r.client, Retention: r.retention}
	for hashes := r.hashes; hashes != ""; hashes = hashes[hashSize:] {
		t.Blobs = append(t.Blobs, hashes[:hashSize])
	}
	return t
}

// submitted is when the task was.
func (r *record) submitted() time.Time {
	if r.born != 0 {
		return time.UnixMilli(r.born / 1000)
	}
	return time.UnixMilli(r.number / 1000)
}

// ending is what is kept of a task that has ended.
type ending struct {
	state     queue.State
	submitted int64 // µs
	attempt   int
	started   int64 // ms
	ended     int64 // ms
	retention time.Duration
	priority  queue.Priority
	worker    string
	group     string
	label     string
	outcome   string
}

// parseEnding reads what is kept of a task's end: state and number, attempt, started, ended (ms), retention
// (ms), priority, token, code, length of the label, =worker, =group, notes; a newline, the label and the outcome.
func parseEnding(text string) (*ending, error) {
	line, rest, found := strings.Cut(text, "\n")
	if !found || line == "" || line[0] < '4' || line[0] > '7' {
		return nil, errDamaged
	}
	f := fields{rest: line[1:]}
	e := &ending{state: queue.State(line[0] - '0'), submitted: f.number(), attempt: int(f.number()), started: f.number(), ended: f.number(),
		retention: time.Duration(f.number()) * time.Millisecond, priority: queue.Priority(f.number() - 1)}
	f.next()
	f.next()
	label := int(f.number())
	e.worker, e.group = f.quoted(), f.quoted()
	if f.bad || label < 0 || label > len(rest) {
		return nil, errDamaged
	}
	e.label, e.outcome = rest[:label], rest[label:]
	return e, nil
}

// event is the end as a topic tells it.
func (e *ending) event(id string) queue.Event {
	return queue.Event{Kind: queue.EventEnd, ID: id, State: e.state, Data: []byte(e.outcome), Attempt: e.attempt, Worker: e.worker}
}

// parseHead reads what ends in a topic have in common: state, attempt, a space, worker.
func parseHead(text string) (queue.Event, error) {
	if text == "" || text[0] < '4' || text[0] > '7' {
		return queue.Event{}, errDamaged
	}
	f := fields{rest: text[1:]}
	e := queue.Event{Kind: queue.EventEnd, State: queue.State(text[0] - '0'), Attempt: int(f.number()), Worker: f.rest}
	if f.bad {
		return queue.Event{}, errDamaged
	}
	return e, nil
}

// parseAttempt reads an attempt: ended (ms), 1 if lost, worker, a newline, error.
func parseAttempt(text string) (queue.Attempt, error) {
	line, message, found := strings.Cut(text, "\n")
	f := fields{rest: line}
	a := queue.Attempt{Ended: time.UnixMilli(f.number()), Lost: f.next() == "1", Worker: f.rest}
	if message != "" {
		a.Error = []byte(message)
	}
	if f.bad || !found {
		return queue.Attempt{}, errDamaged
	}
	return a, nil
}

// fields reads what is separated by single spaces.
type fields struct {
	rest string
	bad  bool
}

func (f *fields) next() string {
	field, rest, _ := strings.Cut(f.rest, " ")
	f.rest = rest
	return field
}

func (f *fields) number() int64 {
	n, err := strconv.ParseInt(f.next(), 10, 64)
	f.bad = f.bad || err != nil
	return n
}

func (f *fields) unsigned() uint64 {
	n, err := strconv.ParseUint(f.next(), 10, 64)
	f.bad = f.bad || err != nil
	return n
}

// quoted reads a field that may be empty, and so begins with =.
func (f *fields) quoted() string {
	text, found := strings.CutPrefix(f.next(), "=")
	f.bad = f.bad || !found
	return text
}
