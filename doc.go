// Package afar runs parts of a Go program in other processes and on other
// machines, with nothing to install over there: a worker is this same program,
// which brings itself there. A part is a function (Func), a routine that talks
// over a channel (Routine), or an object (Class).
//
//	var square = afar.Func(squareOf)
//
//	func squareOf(ctx context.Context, n int) (int, error) { return n * n, nil }
//
//	func main() {
//		afar.Main() // a worker process never returns from it
//		pool, err := afar.Open(context.Background(), "local:4")
//		…
//		defer pool.Close()
//		nine, err := square.On(pool)(ctx, 3)
//		for n, err := range square.Map(ctx, pool, inputs) { … }
//	}
//
// # Words
//
// A worker is a process that runs the program's functions; a gateway is the
// caller's handle on one; a pool is several gateways that share calls; a target
// is the string that says how to reach workers. A Runner is anything that can
// carry a call: Pool, Gateway, what With and Caller return. A routine is remote
// code with a conversation; a channel is the typed flow of items in both
// directions over which it talks; an object is a value that lives in a worker.
// A handle is a value that names a channel's end or an object, and can be sent to
// where it is wanted: Ref makes it, Bind uses it.
//
// # Targets
//
// inproc:N is N workers that are goroutines, behind the same encoding and the
// same link protocol: for tests. local:N is N processes on this machine. Without
// N there are as many as cores. Parameters follow as a URL query:
//
//	local:2?dir=/data&env.LANG=C&nice=5&id=indexer
//
// ssh://user@host:port?workers=N is N processes on a host that the system's ssh
// reaches; config=FILE is its -F. exec:command is wherever a command gives a shell,
// as in exec:docker exec -i web1. tcp://host:port is a node, for programs that import
// package trust, and unix:/path one on this machine. All take workers=, dir=, env.X=,
// nice= and id=. Gateway.Open opens any of them from where a worker is.
//
// # What is promised
//
// A call ends with the function's result, its error or panic (RemoteError), or
// a stated reason (ErrTimeout, WorkerLostError, ErrClosed, the context's error).
// It never hangs: every link has keepalive, and a worker whose caller is gone
// ends. A call that was running when its worker was lost is tried again, by
// default up to three attempts, so a function may run more than once; with
// Policy.MaxAttempts 1 it runs at most once. Calls that were only sent ahead are
// sent again and that does not count.
//
// A timeout means stopped: the function's context is canceled, and when that is
// not enough its process group is killed and replaced. So does leaving a Map,
// and the end of a call's context.
//
// Channels are bounded: what one side has sent and the other has not received is
// at most 1 MiB, 4 in a flow of large items, and beyond that Send waits. Routines and objects are not tried
// again when their worker is lost: their next use says so, with the reason. They
// take no slots from calls, but a worker that is killed because of a call takes
// them with it.
//
// Other machines change none of that. A host that is lost, or out of reach by a
// partition, is noticed within four Keepalives on both sides; the far side then ends
// all that was started there.
//
// State in package variables is per worker process, and is gone when the worker
// is replaced.
package afar
