package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// Place is the far side of a link, as a place to start things. Its methods may be
// used concurrently. Whatever they start ends with the link at the latest.
type Place struct{ session *mux.Session }

// NewPlace returns the place at the other end of a link that a Server serves.
func NewPlace(s *mux.Session) *Place { return &Place{s} }

// Start starts a worker there. Of spec, Path and Adjust have no meaning; image is
// the hash of its program, "" for that of the far side, and share how many workers
// the host's processors are for, or 0. An error says what the far side said.
func (p *Place) Start(ctx context.Context, spec launch.Spec, image string, share int) (*launch.Worker, error) {
	l := &wire.Launch{Image: image, ID: spec.ID, Dir: spec.Dir, Env: spec.Env, Nice: spec.Nice, Share: share}
	return p.launch(ctx, wire.PurposeStart, l, spec.Output)
}

// Command runs a command there.
func (p *Place) Command(ctx context.Context, o launch.Order) (*launch.Worker, error) {
	l := &wire.Launch{Dir: o.Dir, Argv: o.Argv, Env: o.Env}
	return p.launch(ctx, wire.PurposeCommand, l, o.Output)
}

// Dial connects from there to an address of the network "tcp" or "unix".
func (p *Place) Dial(ctx context.Context, network, address string) (launch.Link, error) {
	purpose := wire.AppendText(wire.AppendText([]byte{wire.PurposeDial}, network), address)
	s, err := p.session.Open(purpose, mux.StreamOptions{})
	if err != nil {
		return nil, err
	}
	// An empty item is its answer.
	if _, err := s.Recv(ctx); err != nil {
		s.Reset("no longer wanted")
		return nil, plain(err)
	}
	return &streamLink{s: s}, nil
}

// plain gives a stream's end the words of who ended it.
func plain(err error) error {
	var finished *mux.Finished
	if errors.As(err, &finished) && len(finished.Payload) > 0 {
		return errors.New(string(finished.Payload))
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (p *Place) launch(ctx context.Context, purpose byte, l *wire.Launch, output func([]byte)) (*launch.Worker, error) {
	control, err := p.session.Open(l.Append([]byte{purpose}), mux.StreamOptions{})
	if err != nil {
		return nil, err
	}
	bytes, err := p.session.Open(idOf(control), mux.StreamOptions{})
	if err != nil {
		control.Reset(err.Error())
		return nil, err
	}
	r := &remote{control: control, output: output, started: make(chan struct{}), failed: make(chan struct{}),
		link: &streamLink{s: bytes}, asked: make(chan struct{})}
	go r.listen()
	select {
	case <-r.started:
		return r.worker, nil
	case <-r.failed:
		err = r.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	control.Reset("no longer wanted")
	bytes.Reset("not started")
	return nil, err
}

// remote is something that was started at a place.
type remote struct {
	control *mux.Stream
	link    *streamLink
	output  func([]byte)

	started chan struct{} // closed when worker is set
	failed  chan struct{} // closed when err is set: it was not started
	err     error
	worker  *launch.Worker
	ended   func(launch.Exit)
	once    sync.Once // around ended

	mu       sync.Mutex
	resident int64
	asked    chan struct{} // closed and replaced when resident is set
	patience *time.Timer   // runs once it was killed
}

// listen hears of the process until it has ended.
func (r *remote) listen() {
	for {
		item, err := r.control.Recv(context.Background())
		if err != nil {
			r.over(err)
			return
		}
		if len(item) == 0 {
			continue
		}
		body := wire.NewReader(item[1:])
		switch item[0] {
		case wire.LaunchStarted:
			if r.worker == nil {
				r.worker, r.ended = launch.NewWorker(r.link, body.Int(), r)
				close(r.started)
			}
		case wire.LaunchPrinted:
			if r.output != nil {
				r.output(item[1:])
			}
		case wire.LaunchMemory:
			r.mu.Lock()
			r.resident = body.Long()
			close(r.asked)
			r.asked = make(chan struct{})
			r.mu.Unlock()
		}
	}
}

// over takes how the control stream has ended.
func (r *remote) over(err error) {
	exit := launch.Exit{Code: -1}
	var finished *mux.Finished
	if errors.As(err, &finished) {
		end, bad := wire.ParseExit(finished.Payload)
		switch {
		case bad != nil:
			err = bad
		case end.Failed != "":
			err = errors.New(end.Failed)
		default:
			err = fmt.Errorf("it has ended at once: %s", end.Signal)
			exit = launch.Exit{Code: end.Code, Signal: end.Signal, OutOfMemory: end.OutOfMemory, Stderr: end.Stderr}
		}
	}
	if r.worker == nil {
		r.err = err
		close(r.failed)
		return
	}
	r.end(exit)
}

func (r *remote) end(exit launch.Exit) {
	r.once.Do(func() { r.ended(exit) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.patience != nil {
		r.patience.Stop()
	}
}

// patience is how long the far side may take to say that something has ended that
// was killed. After that its end is not known, and not waited for: the far side
// kills it when it notices that the link is gone.
const patience = 5 * time.Second

// Kill asks for the process to be killed.
func (r *remote) Kill() error {
	r.mu.Lock()
	if r.patience == nil {
		r.patience = time.AfterFunc(patience, func() {
			r.end(launch.Exit{Code: -1})
			r.control.Reset("no answer")
		})
	}
	r.mu.Unlock()
	return r.say(wire.LaunchKill)
}

// say sends a word, unless the far side takes nothing any more.
func (r *remote) say(word byte) error {
	if r.control.TrySend([]byte{word}, nil) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.control.SendNow(ctx, []byte{word}, nil); err != nil && r.control.Err() == nil {
		return err
	}
	return nil // or it has ended, or its link
}

// answer is how long the far side may take to say how large a process is.
const answer = 200 * time.Millisecond

// RSS asks for the resident memory. When the answer takes long it is the last one.
func (r *remote) RSS() int64 {
	r.mu.Lock()
	asked := r.asked
	r.mu.Unlock()
	if r.control.TrySend([]byte{wire.LaunchAsk}, nil) {
		timer := time.NewTimer(answer)
		defer timer.Stop()
		select {
		case <-asked:
		case <-timer.C:
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.resident
}
