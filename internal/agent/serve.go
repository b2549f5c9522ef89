package agent

import (
	"errors"
	"io"
	"os"
	"runtime"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// Serve serves a link until it ends and everything that was started over it is
// gone. hello is what it says of itself; the host, the process and its processors
// are filled in. The link is its own. The end of the link by the far side is no
// error.
func Serve(link launch.Link, hello wire.Hello, v *Server) error {
	hello.Host, _ = os.Hostname()
	hello.PID = os.Getpid()
	hello.Concurrency = runtime.GOMAXPROCS(0)
	conn := peer.Dial(link, peer.Config{Hello: hello, Stream: v.Stream})
	conn.Start()
	<-conn.Session().Done()
	conn.Session().Wait()
	v.Wait()
	err := conn.Session().Err()
	if errors.Is(err, io.EOF) || errors.Is(err, mux.ErrClosed) {
		return nil
	}
	return err
}
