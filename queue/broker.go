package queue

import (
	"context"
	"errors"
	"io"
	"time"
)

// Broker stores queues. It is what package queue needs of a service that keeps
// things; users choose one (memq, natsq, redisq) and give it to New. Package
// queuetest holds every implementation to what is written here.
//
// What a broker must know of a task is in its fields; Body, outcomes, errors and
// log records are bytes to it. All times are its own clock's: it is asked to wait
// for durations, never until a time that another host has read.
//
// All methods may be called concurrently. They return when what they did is as
// durable as the broker says it makes things, or with an error, which names the
// queue. A lost connection is not an error: they go on by themselves when it is
// back, until ctx ends. So each may have been carried out twice, and is harmless
// when it was: Submit by the ID of its tasks, Settle by the first outcome being the
// one that counts. Queues come to be by being used. IDs, names of queues, groups,
// workers and clients have 1 to 128 bytes of printable ASCII without spaces (a group
// may be empty).
type Broker interface {
	// Submit stores tasks. For each it tells whether the queue knew its ID: such a
	// task is not stored again, whatever its body. An ID is known from Submit until
	// the task's outcome is forgotten. After an error any of them may have been
	// stored.
	Submit(ctx context.Context, queue string, tasks []Task) (known []bool, err error)

	// Take leases up to r.Max tasks to a worker, and waits until there is one, r.Wait
	// is over, or ctx ends; no task is no error. Higher priorities go first; within a
	// priority groups take turns, also from one Take to the next; within a group tasks leave
	// in the order in which they were submitted, or their delay ended, those that come
	// back first. A paused queue gives none. Tasks that are there when ctx ends are
	// returned; with a ctx that has ended nothing is taken.
	//
	// When a lease ends that was neither renewed nor settled, the delivery is over as
	// if it had been settled with Retry and no delay, with Lost set in its Attempt;
	// the task is given to the next who takes. A task that was to be canceled is not,
	// and ends Canceled, with the outcome of the Change, when its lease ends or it is
	// settled with Retry or Release.
	Take(ctx context.Context, queue string, r TakeRequest) ([]Delivery, error)

	// Renew makes leases last for their beat's For from now on, and keeps what the
	// deliveries have said and how far they are; what one has said whose lease is Lost
	// is not kept. It also counts as a sign of life of the worker, and may have no beats.
	Renew(ctx context.Context, queue, worker string, beats []Beat) ([]Hold, error)

	// Settle ends deliveries. Done, Failed, Dead and Canceled give the task its outcome,
	// unless it has one: the first counts, even when its lease had ended before. Retry and
	// Release are for who holds the lease. A Hold of Lost says that a settlement did
	// not count; that it was carried out twice does not make it so. Tokens of a task that
	// was forgotten, and whose ID was used again, are not those of the new one.
	//
	// An outcome is kept for the task's Retention, but that of a dead task until it is
	// dropped or requeued. The task's Client, if it has one, is told in its topic.
	Settle(ctx context.Context, queue string, ends []Settlement) ([]Hold, error)

	// Follow returns the events of a topic after a cursor, at least one, or none when
	// wait is over. next is where to go on. The empty cursor is the beginning of what
	// is kept; Newest is the end of it now, and returns at once. Nothing is passed over
	// between a cursor and the next, unless so much was added meanwhile that the broker
	// could not keep it: 10,000 events of a topic are kept at least, for an hour at least,
	// those of a task as long as the task. A task that the queue does not know, or forgets
	// meanwhile, has one event: its end, with StateUnknown. A task that is requeued has its
	// end no more; its client is told of each. There may be more events than one
	// call returns.
	Follow(ctx context.Context, queue string, t Topic, after Cursor, wait time.Duration) (events []Event, next Cursor, err error)

	// Inspect reports what is stored, and changes nothing.
	Inspect(ctx context.Context, queue string, q Query) (*Report, error)

	// Change does what an operator asks for, and returns how many tasks it concerned.
	Change(ctx context.Context, queue string, c Change) (int, error)

	// Blobs returns the queue's store for what is too large for a task. It does not
	// wait for anything.
	Blobs(queue string) Blobs
}

// Blobs keeps bytes by the SHA-256 of what they are, in hexadecimal. What is there
// is kept for as long as a task that has not ended, or is dead, names it in its Blobs,
// and for its Keep after that and after Put.
type Blobs interface {
	// Put keeps the size bytes of r for at least keep. It refuses those that are not
	// what hash says with an error that is an ErrDamaged; nothing is kept then.
	Put(ctx context.Context, hash string, size int64, r io.Reader, keep time.Duration) error
	// Get returns bytes to be read and closed; ErrNoBlob if there are none. The reader
	// gives an ErrDamaged in place of io.EOF when they are not what hash says.
	Get(ctx context.Context, hash string) (io.ReadCloser, error)
	// Keep tells whether bytes are there, and if so keeps them for at least d.
	Keep(ctx context.Context, hash string, d time.Duration) (bool, error)
}

// Errors of brokers.
var (
	// ErrNoBlob means that a blob is not there, or not any more.
	ErrNoBlob = errors.New("queue: no such blob")
	// ErrDamaged means that a blob is not what its hash says.
	ErrDamaged = errors.New("queue: a blob is damaged")
	// ErrClosed means that a broker, or what was asked of it, is closed.
	ErrClosed = errors.New("queue: closed")
)

// Priority orders the tasks of a queue. It is also a SubmitOption.
type Priority int8

// Priorities. Waiting tasks of a higher one go first, always.
const (
	Low    Priority = -1
	Normal Priority = 0
	High   Priority = 1
)

// Task is one unit of work as a broker keeps it, at most 256 KiB altogether.
type Task struct {
	ID       string
	Label    string // what it is, for people: a function's name, at most 256 bytes
	Body     []byte // what is to be done
	Priority Priority
	Group    string // tasks of one group wait for each other, not for those of another
	Client   string // whose topic is told of the end; "": nobody's
	// Random says that ID was made for this task, so that nobody else can have used it:
	// a broker need only notice its own repetitions of Submit.
	Random    bool
	Delay     time.Duration // before it may be taken
	Retention time.Duration // of its outcome; 0: Client is told, and that is all
	Blobs     []string      // hashes that it needs until it has ended
}

// TakeRequest says who wants how much for how long.
type TakeRequest struct {
	Worker string        // who listens, as Stats shows it
	Max    int           // deliveries, at least 1
	Lease  time.Duration // of each, at least 100 ms
	Wait   time.Duration // for the first; 0: not at all. Until then the worker counts as listening
}

// Lease names one delivery of a task.
type Lease struct {
	ID    string // of the task
	Token uint64 // grows with every delivery of the task: the fencing token
}

// Delivery is one attempt at a task.
type Delivery struct {
	Task
	Token   uint64
	Attempt int       // counts from 1; deliveries that were released do not count
	Past    []Attempt // those before that were not released, oldest first: the last 32, or fewer if their errors are large
}

// Attempt is how a delivery ended that gave the task no outcome, or made it Dead.
type Attempt struct {
	Worker string
	Ended  time.Time
	Lost   bool   // its lease ended
	Error  []byte // what the worker said, at most 64 KiB
}

// Beat is a delivery's sign of life.
type Beat struct {
	Lease
	For      time.Duration
	Log      [][]byte // records, to the task's topic, each at most 64 KiB
	Progress [2]int64 // done and total; zeros: nothing new
}

// Hold says how a lease stands.
type Hold uint8

// States of leases.
const (
	Held     Hold = iota + 1
	Lost          // the delivery is over: settled, or its lease has ended
	Unwanted      // held, but the task is to be canceled
)

// Ending is what becomes of a task when a delivery has ended.
type Ending uint8

// Endings.
const (
	EndDone     Ending = iota + 1 // outcome: success
	EndFailed                     // outcome: an error that is the answer
	EndDead                       // outcome: no more attempts; kept among the dead letters
	EndCanceled                   // outcome: it was stopped
	EndRetry                      // again, after Delay; counts as an attempt
	EndRelease                    // again, after Delay, as if it had not been taken
)

// Settlement ends a delivery.
type Settlement struct {
	Lease
	Worker  string
	Ending  Ending
	Outcome []byte        // of the first four endings, at most 256 KiB
	Error   []byte        // of EndRetry and EndDead: for the task's attempts
	Delay   time.Duration // of EndRetry and EndRelease
	Log     [][]byte      // last records, to the task's topic before the end
	Blobs   []string      // hashes that the outcome needs for the task's Retention
}

// State is where a task is in its life.
type State uint8

// States of tasks.
const (
	StateUnknown State = iota // of an ID that the queue does not know
	StateDelayed              // waits for its time, or for another attempt
	StateWaiting              // waits for a worker
	StateRunning              // is leased
	StateDone
	StateFailed
	StateDead
	StateCanceled
)

// Ended tells whether a task in this state has an outcome.
func (s State) Ended() bool { return s >= StateDone }

// Cursor is a place in a topic.
type Cursor string

// Newest is the end of a topic as it is.
const Newest Cursor = "$"

// Topic names a sequence of events of a queue. One field is set; the zero Topic is what
// is said to all workers.
type Topic struct {
	Task   string // what the task with this ID says, and its end
	Client string // ends of this client's tasks
}

// EventKind says what an event is.
type EventKind uint8

// Kinds of events.
const (
	EventLog    EventKind = iota + 1 // Data is a record; of a task's topic
	EventEnd                         // State, and Data is the outcome; of a task's topic and a client's
	EventCancel                      // the task is to be stopped by who runs it; of the zero Topic
)

// Event is one thing that happened.
type Event struct {
	Kind    EventKind
	ID      string // of the task
	State   State
	Data    []byte
	Attempt int    // of EventEnd: how many there were
	Worker  string // of EventEnd: who settled it, if somebody did
}

// Query says what of a queue is wanted.
type Query struct {
	IDs    []string // these tasks, in this order, unknown ones with StateUnknown
	State  State    // or those in this state, oldest first; StateUnknown: none
	After  string   // beyond this ID: Report.Next of the page before
	Limit  int      // tasks at a time, 0: 100
	Stats  bool     // the queue's numbers
	Queues bool     // the names of all queues; the queue asked for does not matter
}

// Report is the answer to a Query.
type Report struct {
	Tasks  []TaskState
	Next   string // not empty: there may be more
	Stats  *Stats
	Queues []string // sorted
}

// TaskState is what a broker knows of a task. Of one that has ended, Task has only
// ID, Label, Priority, Group and Retention for sure; of a dead one everything.
type TaskState struct {
	Task
	State     State
	Attempt   int       // of the delivery that runs, or how many there were
	Worker    string    // who has it, or had it last
	Submitted time.Time // by the broker's clock, as all of these; zero if not known
	Started   time.Time // the last attempt
	Ended     time.Time
	Progress  [2]int64
	Outcome   []byte
	Past      []Attempt
	Unwanted  bool // is to be canceled
}

// Stats are a queue's numbers.
type Stats struct {
	Waiting, Delayed, Running int64
	Dead                      int64         // dead letters
	Done, Failed, Canceled    int64         // ever, since the queue came to be
	Oldest                    time.Duration // for how long the oldest waiting task has waited, its delay not counted
	Paused                    bool
	Workers                   []WorkerStats // who listens, sorted by name
}

// WorkerStats is a worker that listens to a queue.
type WorkerStats struct {
	Name    string
	Running int64 // leases that it has
}

// Verb is what a Change does.
type Verb uint8

// Verbs.
const (
	Cancel  Verb = iota + 1 // IDs: those that wait end Canceled with Outcome; who runs the others is told; both count
	Requeue                 // IDs, or all: dead tasks wait again, behind the others, with no attempts counted and none in Past
	Drop                    // IDs, or all that are dead: tasks that have ended are forgotten
	Purge                   // all that wait, delayed ones too, end Canceled with Outcome
	Pause                   // no more deliveries
	Resume                  // deliveries again
	Leave                   // Worker listens no more
)

// Change is what an operator, or a caller, asks for.
type Change struct {
	Verb    Verb
	IDs     []string
	Outcome []byte // of tasks that are canceled
	Worker  string
}
