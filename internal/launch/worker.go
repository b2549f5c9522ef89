package launch

// Worker is the handle on one worker. Its methods may be used concurrently.
//
// The caller closes the Link, also after the worker's end: what the worker wrote before its end can still be read.
// Nothing else has to be closed; the worker's goroutines end, and its other descriptors are closed, by Done.
type Worker struct {
	link Link
	pid  int
	body body
	done chan struct{}
	exit Exit // written before done is closed
}

// body is what differs between kinds of workers.
type body interface {
	kill() error
	rss() int64
}

// Link returns the caller's end of the worker's link.
func (w *Worker) Link() Link { return w.link }

// Wrap puts something around the caller's end of the link. It is called before anybody uses the link.
func (w *Worker) Wrap(around func(Link) Link) { w.link = around(w.link) }

// PID returns the worker's process ID, which is also that of its process group. It is the caller's own for a worker
// that runs in-process.
func (w *Worker) PID() int { return w.pid }

// RSS returns the bytes of memory that the worker has resident, or 0 when that is unknown: after its end, on
// systems other than Linux, and for a worker that runs in-process.
func (w *Worker) RSS() int64 { return w.body.rss() }

// Kill ends the worker now: it sends SIGKILL to its whole process group (on Windows it terminates the process).
// It does not wait; see Done. It may be called again, and after the worker's end, when it does nothing and
// returns nil.
//
// Killing a worker that runs in-process cuts its end of the link, which the caller's end sees as it would see the
// death of a process, and closes Done with Signal "killed". Goroutines cannot be killed: the function that serves
// the link goes on until it notices.
func (w *Worker) Kill() error { return w.body.kill() }

// Done is closed when the worker's process is gone, its process group killed and its output drained. For a worker
// that runs in-process it is closed when its function has returned and its end of the link is cut, or by Kill.
func (w *Worker) Done() <-chan struct{} { return w.done }

// Exit waits for Done and tells how the worker ended.
func (w *Worker) Exit() Exit {
	<-w.done
	return w.exit
}
