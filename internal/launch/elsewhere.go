package launch

// Elsewhere is what can be done with a process that runs on another host. Both methods may be called at any time,
// concurrently.
type Elsewhere interface {
	Kill() error // it does not wait
	RSS() int64  // bytes; 0 when unknown
}

// NewWorker returns the handle on a process that runs elsewhere, and the function to call, once, when it has ended.
func NewWorker(link Link, pid int, there Elsewhere) (w *Worker, ended func(Exit)) {
	w = &Worker{link: link, pid: pid, body: elsewhere{there}, done: make(chan struct{})}
	return w, func(exit Exit) {
		w.exit = exit
		close(w.done)
	}
}

// elsewhere is the body of such a worker.
type elsewhere struct{ there Elsewhere }

func (e elsewhere) kill() error { return e.there.Kill() }
func (e elsewhere) rss() int64  { return e.there.RSS() }
