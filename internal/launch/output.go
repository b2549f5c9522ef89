package launch

import (
	"errors"
	"os"
	"time"
)

// drainTime bounds the wait for the end of a dead worker's output: a grandchild that left the process group may hold
// the pipe as long as it likes.
const drainTime = 200 * time.Millisecond

// output carries what a worker prints to the receiver of its lines and to the excerpt for Exit.Stderr.
type output struct {
	file  *os.File
	lines lines
	log   excerpt // the pump's until done is closed
	done  chan struct{}
}

// newOutput starts the goroutine that reads file; it closes file at the end.
func newOutput(file *os.File, deliver func(line []byte)) *output {
	o := &output{file: file, done: make(chan struct{})}
	o.lines.deliver = func(line []byte) {
		o.log.add(line)
		if deliver != nil {
			deliver(line)
		}
	}
	go o.pump()
	return o
}

func (o *output) pump() {
	defer close(o.done)
	defer o.file.Close()
	for {
		n, err := o.file.Read(o.lines.space())
		o.lines.filled(n)
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// The worker's own last words are in the pipe already, however late this goroutine comes to them.
			o.sweep()
		}
		break
	}
	o.lines.end()
}

// finish is called when the worker is gone. It returns when its output is delivered.
func (o *output) finish() {
	if err := o.file.SetReadDeadline(time.Now().Add(drainTime)); err != nil {
		cut := time.AfterFunc(drainTime, func() { _ = o.file.Close() })
		defer cut.Stop()
	}
	<-o.done
}
