//go:build unix

package mux

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/afar-go/afar/internal/launch"
)

// The benchmarks measure a session across two processes, which is what it is
// for, in turns with the bare link: absolute figures move by a factor of two on
// a shared machine, so "of-raw" is what counts, the ratio within one run.

// roleVariable makes a process of this test binary the far end of a benchmark.
const (
	roleVariable = "MUX_TEST_ROLE"
	socketFD     = 3 // of a far end with a socket
)

// roles is what the far ends do with their link.
var roles = map[string]func(link io.ReadWriteCloser){
	"raw-sink": rawSink,
	"raw-echo": rawEcho,
	"mux":      serve,
}

// playRole does not return if this process is the far end of a benchmark.
func playRole() {
	launch.RememberImage()
	role := os.Getenv(roleVariable)
	if role == "" {
		return
	}
	in, isWorker, err := launch.Inherit()
	if err != nil {
		panic(err)
	}
	if isWorker {
		roles[role](in.Link)
		in.End(0)
	}
	roles[role](socket(os.NewFile(socketFD, "socket")))
	os.Exit(0)
}

// socketLink is one end of a connected pair of sockets.
type socketLink struct{ net.Conn }

func socket(f *os.File) socketLink {
	c, err := net.FileConn(f)
	if err != nil {
		panic(err)
	}
	_ = f.Close()
	return socketLink{c}
}

func (l socketLink) Writev(bufs ...[]byte) error {
	all := net.Buffers(append([][]byte(nil), bufs...))
	_, err := all.WriteTo(l.Conn)
	return err
}

// far starts a process that plays a role, and returns the link to it.
func far(b *testing.B, kind, role string) launch.Link {
	b.Helper()
	if kind == "pipe" {
		w, err := launch.Local(launch.Spec{Env: []string{roleVariable + "=" + role}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = w.Link().Close()
			<-w.Done()
			if e := w.Exit(); e.Code != 0 {
				b.Errorf("the far end: %+v", e)
			}
		})
		return w.Link()
	}
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	theirs := os.NewFile(uintptr(fds[1]), "socket")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	_ = theirs.Close()
	link := socket(os.NewFile(uintptr(fds[0]), "socket"))
	b.Cleanup(func() {
		_ = link.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("the far end: %v", err)
		}
	})
	return link
}

// rawSink reads as many bytes as it is told, and says so.
func rawSink(link io.ReadWriteCloser) {
	buf := make([]byte, 256<<10)
	var head [16]byte
	for {
		if _, err := io.ReadFull(link, head[:]); err != nil {
			return
		}
		left, size := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint64(head[8:])
		for left > 0 {
			n, err := link.Read(buf[:min(uint64(len(buf)), size, left)])
			if err != nil {
				return
			}
			left -= uint64(n)
		}
		_, _ = link.Write(head[:1])
	}
}

func rawEcho(link io.ReadWriteCloser) {
	buf := make([]byte, 64<<10)
	for {
		n, err := link.Read(buf)
		if err != nil {
			return
		}
		if _, err := link.Write(buf[:n]); err != nil {
			return
		}
	}
}

// server is the far end of a session.
type server struct{ *Session }

func serve(link io.ReadWriteCloser) {
	s := &server{}
	s.Session = New(link, Config{MaxStreams: 10_000}, s)
	s.Start()
	s.Wait()
}

func (s *server) Message(msg []byte, _ bool) { s.Post(nil, msg) }
func (s *server) Idle()                      { s.Flush() }
func (s *server) GoAway(string)              {}
func (s *server) Closed(error)               {}

func (s *server) Stream(st *Stream) {
	switch string(st.Purpose()) {
	case "sink":
		go s.sink(st)
	case "keep":
		go s.keep(st)
	case "handle":
		st.Handle(func(item []byte, owned bool) {
			if owned {
				Free(item)
			}
		}, func(error) { st.Finish(nil) })
	case "echo":
		go s.echo(st)
	default:
		st.Reset("what?")
	}
}

func (s *server) sink(st *Stream) {
	for {
		item, owned, err := st.Take(context.Background())
		if err != nil {
			st.Finish(nil)
			return
		}
		if owned {
			Free(item)
		}
		st.Release()
	}
}

func (s *server) keep(st *Stream) {
	var last []byte
	for {
		item, err := st.Recv(context.Background())
		if err != nil {
			st.Finish(last[:0])
			return
		}
		last = item
	}
}

func (s *server) echo(st *Stream) {
	for {
		item, _, err := st.Take(context.Background())
		if err != nil {
			st.Finish(nil)
			return
		}
		if st.SendNow(context.Background(), nil, item) != nil {
			return
		}
		st.Release()
	}
}

// dial returns a session to a new process, without a handler's work.
func dial(b *testing.B, kind string) *end {
	e := &end{}
	e.on(far(b, kind, "mux"), Config{Initiator: true})
	e.Start()
	b.Cleanup(func() {
		_ = e.Close()
		e.Wait()
	})
	return e
}

func must(b *testing.B, err error) { // no Helper: that would be half of what is measured
	if err != nil {
		b.Fatal(err)
	}
}

// sendRaw writes n items of a size over a bare link and waits until they were
// read.
func sendRaw(b *testing.B, link launch.Link, item []byte, n int) time.Duration {
	batch := item
	for len(batch) < 64<<10 && len(item) < 32<<10 {
		batch = append(batch[:len(batch):len(batch)], batch...)
	}
	writes := max(1, n*len(item)/len(batch))
	began := time.Now()
	var head [16]byte
	binary.LittleEndian.PutUint64(head[:], uint64(writes*len(batch)))
	binary.LittleEndian.PutUint64(head[8:], uint64(max(64<<10, min(len(item), 256<<10))))
	_, err := link.Write(head[:])
	must(b, err)
	for range writes {
		_, err := link.Write(batch)
		must(b, err)
	}
	_, err = io.ReadFull(link, head[:1])
	must(b, err)
	return time.Since(began) * time.Duration(n*len(item)) / time.Duration(writes*len(batch))
}

// sendItems sends n items on a new stream and waits until they were taken.
func sendItems(b *testing.B, e *end, purpose string, item []byte, n int) time.Duration {
	began := time.Now()
	st, err := e.Open([]byte(purpose), StreamOptions{})
	must(b, err)
	for range n {
		must(b, st.Send(context.Background(), nil, item))
	}
	st.End()
	<-st.Done()
	return time.Since(began)
}

// BenchmarkOneWay sends items one way.
func BenchmarkOneWay(b *testing.B) {
	for _, kind := range []string{"pipe", "unix"} {
		for _, size := range []int{8, 64, 1 << 10, 16 << 10, 64 << 10, 1 << 20, 64 << 20} {
			for _, purpose := range []string{"sink", "keep", "handle"} {
				b.Run(fmt.Sprintf("%s/%d/%s", kind, size, purpose), func(b *testing.B) {
					e, link := dial(b, kind), far(b, kind, "raw-sink")
					n := max(1, min(2_000_000, 256<<20/size))
					item := make([]byte, size)
					sendRaw(b, link, item, n/10+1)
					sendItems(b, e, purpose, item, n/10+1)
					var raw, items time.Duration
					for b.Loop() {
						raw += sendRaw(b, link, item, n)
						items += sendItems(b, e, purpose, item, n)
					}
					total := float64(n) * float64(b.N)
					b.ReportMetric(total/items.Seconds()/1e6, "Mitems/s")
					b.ReportMetric(total*float64(size)/items.Seconds()/1e6, "MB/s")
					b.ReportMetric(total*float64(size)/raw.Seconds()/1e6, "raw-MB/s")
					b.ReportMetric(raw.Seconds()/items.Seconds(), "of-raw")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}

// BenchmarkRoundTrip compares requests of 64 bytes on a stream with messages and
// with the bare link.
func BenchmarkRoundTrip(b *testing.B) {
	for _, kind := range []string{"pipe", "unix"} {
		b.Run(kind, func(b *testing.B) {
			e, link := dial(b, kind), far(b, kind, "raw-echo")
			replies := make(chan struct{}, 1)
			e.onMessage = func(*end, []byte, bool) { replies <- struct{}{} }
			handled, err := e.Open([]byte("echo"), StreamOptions{Item: func([]byte, bool) { replies <- struct{}{} }})
			must(b, err)
			taken, err := e.Open([]byte("echo"), StreamOptions{})
			must(b, err)
			ctx := context.Background()
			item := make([]byte, 64)
			ways := []struct {
				name string
				do   func()
				took time.Duration
			}{
				{name: "raw", do: func() {
					_, err := link.Write(item)
					must(b, err)
					_, err = io.ReadFull(link, item)
					must(b, err)
				}},
				{name: "message", do: func() {
					e.Post(nil, item)
					e.Flush()
					<-replies
				}},
				{name: "handled", do: func() {
					must(b, handled.SendNow(ctx, nil, item))
					<-replies
				}},
				{name: "taken", do: func() {
					must(b, taken.SendNow(ctx, nil, item))
					_, _, err := taken.Take(ctx)
					must(b, err)
					taken.Release()
				}},
			}
			const n = 2000
			for b.Loop() {
				for i := range ways {
					began := time.Now()
					for range n {
						ways[i].do()
					}
					ways[i].took += time.Since(began)
				}
			}
			for _, w := range ways {
				b.ReportMetric(float64(w.took.Nanoseconds())/float64(n*b.N), w.name+"-ns")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkStreams opens many streams at once, sends a few items on each and
// finishes them.
func BenchmarkStreams(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e := dial(b, "pipe")
			item := make([]byte, 64)
			sts := make([]*Stream, n)
			b.ReportAllocs()
			for b.Loop() {
				for i := range sts {
					st, err := e.Open([]byte("sink"), StreamOptions{})
					must(b, err)
					sts[i] = st
				}
				for range 3 {
					for _, st := range sts {
						must(b, st.Send(context.Background(), nil, item))
					}
				}
				for _, st := range sts {
					st.End()
				}
				for _, st := range sts {
					<-st.Done()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/stream")
		})
	}
}
