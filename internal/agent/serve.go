package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// maxKeepalive bounds what a caller may ask for: whoever starts processes for
// others has to notice in the end that they are gone.
const maxKeepalive = 5 * time.Minute

// Serving is a link that is served.
type Serving struct {
	conn   *peer.Conn
	server *Server

	mu       sync.Mutex
	draining bool // somebody sees to the end, or it has come
	closer   sync.WaitGroup
}

// Begin serves a link. hello is what it says of itself; the host, the process and
// its processors are filled in. The link is its own. Wait must follow.
func Begin(link launch.Link, hello wire.Hello, v *Server) *Serving {
	hello.Host, _ = os.Hostname()
	hello.PID = os.Getpid()
	hello.Concurrency = runtime.GOMAXPROCS(0)
	s := &Serving{server: v}
	s.conn = peer.Dial(link, peer.Config{Hello: hello, Stream: v.Stream, Greeted: func(h *wire.Hello) {
		if h.Keepalive > 0 {
			s.conn.Session().SetKeepalive(min(h.Keepalive, maxKeepalive))
		}
	}})
	s.conn.Start()
	return s
}

// farewell is how long a link stays whose other end is refused everything, so that it hears
// why: what was said last is lost when a link is closed to which the other end still writes.
const farewell = time.Second

// Refuse tells the other end of a link that nothing is done for it, and why, whatever it
// asks for. It returns when the link has ended, soon in any case, and at once when ctx ends.
func Refuse(ctx context.Context, link launch.Link, why error) {
	s := Begin(link, wire.Hello{}, &Server{refused: why})
	s.conn.Session().GoAway(why.Error())
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	defer context.AfterFunc(ctx, s.Close)()
	_ = s.Wait()
}

// Drain has everything refused that is still asked for, and closes the link when what
// was started before is gone and the far side was told so. It does not wait for that.
func (s *Serving) Drain(reason string) {
	s.server.Drain()
	s.conn.Session().GoAway(reason)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return
	}
	s.draining = true
	s.closer.Go(func() {
		s.server.Wait()
		s.conn.Session().Sync()
		s.Close()
	})
}

// Close ends the link, and with it everything that was started over it. It does not
// wait for that.
func (s *Serving) Close() { _ = s.conn.Close() }

// Wait waits until the link has ended and everything that was started over it is
// gone. The end of the link by either side is no error.
func (s *Serving) Wait() error {
	<-s.conn.Session().Done()
	s.conn.Session().Wait()
	s.server.Wait()
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.closer.Wait()
	err := s.conn.Session().Err()
	switch {
	case errors.Is(err, mux.ErrClosed), // this side ended it
		errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe): // the far side did, while this one read or wrote
		return nil
	}
	return err
}

// Serve serves a link until it ends and everything that was started over it is
// gone, as Begin and Wait do.
func Serve(link launch.Link, hello wire.Hello, v *Server) error {
	return Begin(link, hello, v).Wait()
}
