package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// Server serves what a Place on the other end of a link asks for. Its fields are
// set before the link starts; what is nil is refused.
type Server struct {
	// Start starts a worker.
	Start func(l *wire.Launch, output func([]byte)) (*launch.Worker, error)
	// Command runs a command.
	Command func(launch.Order) (*launch.Worker, error)
	// Dial connects to an address.
	Dial func(ctx context.Context, network, address string) (launch.Link, error)
	// Keep keeps images.
	Keep Keeper
	// Run starts a program whose standard streams are not a link.
	Run func(l *wire.Launch) (*Program, error)
	// Status says how the agent is, without the load of its host. Unlike with the
	// others, nil is not a refusal: it counts what this Server has started.
	Status func() wire.Status

	refused  error // why nothing is done for the other end
	mu       sync.Mutex
	draining bool
	started  map[uint64]*started // by their control streams
	running  sync.WaitGroup
}

// Purpose tells whether a stream of a purpose is for a Server.
func Purpose(purpose byte) bool {
	return purpose >= wire.PurposeStart && purpose <= wire.PurposeStatus
}

// Stream takes a stream. It is to be called as peer.Config.Stream is.
func (v *Server) Stream(s *mux.Stream, purpose byte, rest *wire.Reader) error {
	switch {
	case v.refused != nil:
		return v.refused
	case purpose == wire.PurposeStart && v.Start != nil:
		return v.launch(s, rest, func(l *wire.Launch, output func([]byte)) (*launch.Worker, error) {
			return v.Start(l, output)
		})
	case purpose == wire.PurposeCommand && v.Command != nil:
		return v.launch(s, rest, func(l *wire.Launch, output func([]byte)) (*launch.Worker, error) {
			return v.Command(launch.Order{Argv: l.Argv, Dir: l.Dir, Env: l.Env, Output: output})
		})
	case purpose == wire.PurposeDial && v.Dial != nil:
		return v.dial(s, rest)
	case purpose == wire.PurposeLink:
		return v.attach(s, rest)
	case purpose == wire.PurposeImage && v.Keep != nil:
		return v.keep(s, rest)
	case purpose == wire.PurposeRun && v.Run != nil:
		return v.run(s, rest)
	case purpose == wire.PurposeStatus:
		return v.tell(s, rest)
	}
	return fmt.Errorf("no use for a stream of purpose %d", purpose)
}

// Wait waits, after the link has ended or Drain, until everything that was started is
// gone.
func (v *Server) Wait() { v.running.Wait() }

// Drain has everything refused from now on.
func (v *Server) Drain() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.draining = true
}

// do runs something for a stream in a goroutine, unless it is to be refused.
func (v *Server) do(f func()) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.draining {
		return errors.New("nothing more is started here: it is about to end")
	}
	v.running.Go(f)
	return nil
}

// Workers is how many things that were started have not ended.
func (v *Server) Workers() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.started)
}

// started is something that was started, or is about to be.
type started struct {
	control *mux.Stream
	bytes   chan *mux.Stream // its link's stream
	over    context.Context  // ends with the control stream
	cancel  func()
}

// launch has something started, and answers at once.
func (v *Server) launch(s *mux.Stream, rest *wire.Reader, start func(*wire.Launch, func([]byte)) (*launch.Worker, error)) error {
	l, err := wire.ParseLaunch(rest)
	if err != nil {
		return err
	}
	return v.begin(s, func(st *started) {
		worker, err := start(l, st.printed)
		if err != nil {
			st.finish(&wire.Exit{Failed: err.Error()})
			return
		}
		st.serve(worker)
	})
}

// begin does what a control stream asks for, in a goroutine.
func (v *Server) begin(s *mux.Stream, do func(*started)) error {
	st := &started{control: s, bytes: make(chan *mux.Stream, 1)}
	st.over, st.cancel = context.WithCancel(context.Background())
	v.mu.Lock()
	if v.started == nil {
		v.started = map[uint64]*started{}
	}
	v.started[s.ID()] = st
	v.mu.Unlock()
	err := v.do(func() {
		do(st)
		v.over(st)
	})
	if err != nil {
		v.over(st)
	}
	return err
}

// over forgets what has ended, or was not started.
func (v *Server) over(st *started) {
	v.mu.Lock()
	delete(v.started, st.control.ID())
	v.mu.Unlock()
	st.cancel()
	select {
	case bytes := <-st.bytes:
		bytes.Reset("not started")
	default:
	}
}

// attach takes the stream for the bytes of something. It does so under the lock, so
// that over finds it, or it finds that there is nothing any more.
func (v *Server) attach(s *mux.Stream, rest *wire.Reader) error {
	id := rest.Uvarint()
	if err := rest.End(); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.started[id]
	if st == nil {
		return fmt.Errorf("nothing was started by stream %d", id)
	}
	select {
	case st.bytes <- s:
		return nil
	default:
		return fmt.Errorf("what was started by stream %d has its link", id)
	}
}

// printed passes a line on.
func (st *started) printed(line []byte) {
	_ = st.control.Send(st.over, []byte{wire.LaunchPrinted}, line) // It fails when nobody listens any more.
}

func (st *started) finish(exit *wire.Exit) { st.control.Finish(exit.Append(nil)) }

// serve is there for a process until it has ended.
func (st *started) serve(worker *launch.Worker) {
	var relays sync.WaitGroup
	defer relays.Wait()
	_ = st.control.SendNow(st.over, wire.AppendInt([]byte{wire.LaunchStarted}, worker.PID()), nil)
	relays.Go(func() {
		select {
		case bytes := <-st.bytes:
			join(worker.Link(), bytes)
		case <-st.over.Done():
			_ = worker.Link().Close()
		}
	})
	relays.Go(func() {
		st.obey(worker)
		// Nobody can ask for anything any more. The end of its link lets a worker end by itself.
		st.cancel()
		_ = worker.Kill()
	})
	exit := worker.Exit()
	st.finish(&wire.Exit{Code: exit.Code, Signal: exit.Signal, OutOfMemory: exit.OutOfMemory, Stderr: exit.Stderr})
}

// obey does what the place says until it says no more.
func (st *started) obey(worker *launch.Worker) {
	for {
		item, err := st.control.Recv(context.Background())
		if err != nil {
			return
		}
		if len(item) != 1 {
			continue
		}
		switch item[0] {
		case wire.LaunchKill:
			_ = worker.Kill()
		case wire.LaunchAsk:
			_ = st.control.SendNow(st.over, wire.AppendLong([]byte{wire.LaunchMemory}, worker.RSS()), nil)
		}
	}
}

// dial connects to an address, and joins it with the stream.
func (v *Server) dial(s *mux.Stream, rest *wire.Reader) error {
	network, address := rest.Text(), rest.Text()
	if err := rest.End(); err != nil {
		return err
	}
	return v.do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-s.Done():
				cancel()
			case <-ctx.Done():
			}
		}()
		link, err := v.Dial(ctx, network, address)
		if err != nil {
			s.Finish([]byte(err.Error()))
			return
		}
		_ = s.SendNow(ctx, nil, nil)
		join(link, s)
	})
}

// join relays bytes both ways until one end has ended, and then closes the other.
func join(link launch.Link, s *mux.Stream) {
	far := &streamLink{s: s}
	var wg sync.WaitGroup
	wg.Go(func() {
		copyLink(far, link)
		_ = far.Close() // what was sent still arrives
	})
	wg.Go(func() {
		copyItems(link, s)
		_ = link.Close()
	})
	wg.Wait()
}

// copyLink sends what a link has.
func copyLink(to *streamLink, from launch.Link) {
	buf := make([]byte, chunk)
	for {
		n, err := from.Read(buf)
		if n > 0 && to.send(buf[:n], nil) != nil || err != nil {
			return
		}
	}
}

// copyItems writes what a stream has to a link.
func copyItems(to launch.Link, from *mux.Stream) {
	for {
		item, owned, err := from.Take(context.Background())
		if err != nil {
			return
		}
		_, err = to.Write(item)
		if owned {
			mux.Free(item)
		}
		from.Release()
		if err != nil {
			return
		}
	}
}

// Environment gives each of share workers its part of this host's processors, unless
// they have one.
func Environment(l *wire.Launch, own func(string) (string, bool)) []string {
	_, set := own("GOMAXPROCS")
	for _, e := range l.Env {
		set = set || strings.HasPrefix(e, "GOMAXPROCS=")
	}
	if set || l.Share < 1 {
		return l.Env
	}
	return append([]string{fmt.Sprintf("GOMAXPROCS=%d", max(1, runtime.GOMAXPROCS(0)/l.Share))}, l.Env...)
}

// idOf is how a stream's purpose names another one.
func idOf(s *mux.Stream) []byte { return binary.AppendUvarint([]byte{wire.PurposeLink}, s.ID()) }
