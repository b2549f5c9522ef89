// Package queue hands tasks to named, durable queues. A task is a call of a function that
// outlives its caller: it is kept by a broker, runs on one of those who work for
// the queue, is given to another when that one dies, and its outcome can be awaited,
// watched and read by any program, as often as one likes.
//
//	q := queue.New(broker, "thumbs")
//	result, err := queue.Submit(ctx, q, resize, picture)
//	...
//	thumb, err := result.Wait(ctx) // here, or queue.Lookup[Thumb](q, id) in another program
//
// and in a program that has the same functions:
//
//	err := q.Work(ctx, queue.WorkConfig{})
//
// A Queue is also an afar.Runner, so resize.On(q) is the function as it runs somewhere in the
// fleet, and resize.Map(ctx, q, pictures) a map over it; with [Queue.Batch] a map that goes
// on where it was when its program is started again.
//
// # Brokers
//
// memq keeps queues in memory, for tests; natsq in NATS JetStream, also inside the program,
// with files in a directory; redisq in Redis or Valkey. Each says what it has lost when it
// loses its power. A connection that is lost is not an error: everything
// waits until it is back, or the context ends.
//
// # Delivery
//
// A task is run at least once. It is leased to a worker, which renews the lease for as long
// as it runs; when the worker dies the lease ends, and the task is given to the next. So
// a task may run twice, or still run somewhere when it runs again elsewhere; it
// has one outcome, the first. Functions with effects beyond their result use the
// fencing token of [Current].
//
// An attempt that is cut short because its worker is shut down does not count. One whose
// worker is lost does: after DefaultMaxAttempts of them the task is a dead letter. An error
// that the function returns is its answer, unless the task was submitted with
// MaxAttempts. Dead letters keep the errors of their attempts, and wait to be
// requeued or dropped.
//
// # Versions
//
// Tasks name their function with its types. Programs that are built later run those that
// were submitted before, if they still have the function; give what is to outlive
// builds and moves between packages a name of its own with afar.NamedFunc, and a new name
// when its meaning changes. A task whose function a worker does not have is tried again after a second,
// perhaps by another, and ends among the dead letters.
//
// # Nodes
//
// Tasks that are signed ([Queue.Sign]) take their program with them: `afar node --queue` runs
// them on hosts that have never seen it, for submitters whose keys it knows.
package queue
