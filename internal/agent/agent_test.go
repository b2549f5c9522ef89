package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves v on a link in memory, until the test ends, and returns the place that it is.
func serve(t *testing.T, v *agent.Server) (*agent.Place, *peer.Conn) {
	t.Helper()
	near, far := launch.Pipe()
	served := make(chan error, 1)
	go func() { served <- agent.Serve(far, wire.Hello{Image: "image"}, v) }()
	conn := peer.Dial(near, peer.Config{Initiator: true})
	conn.Start()
	t.Cleanup(func() {
		_ = conn.Close()
		conn.Session().Wait()
		if err := <-served; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
	hello, err := conn.Hello(t.Context())
	if err != nil || hello.Image != "image" || hello.Concurrency < 1 || hello.PID == 0 {
		t.Fatalf("%+v, %v", hello, err)
	}
	return agent.NewPlace(conn.Session()), conn
}

// commands is a server that runs commands here.
func commands() *agent.Server { return &agent.Server{Command: launch.Command} }

func sh(script string) launch.Order { return launch.Order{Argv: []string{"sh", "-c", script}} }

// Bytes pass both ways, however many, and the end of either side's is the end.
func TestCommandEchoes(t *testing.T) {
	p, _ := serve(t, commands())
	w, err := p.Command(t.Context(), sh("cat"))
	if err != nil {
		t.Fatal(err)
	}
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // a window, and the pipes on the way
	var wg sync.WaitGroup
	wg.Go(func() {
		for left := sent; len(left) > 0; {
			n := min(len(left), 100_001)
			if err := w.Link().Writev(left[:n/3], left[n/3:n/2], left[n/2:n]); err != nil {
				t.Error(err)
				return
			}
			left = left[n:]
		}
	})
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(w.Link(), got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("what came back is not what was sent: %v", err)
	}
	wg.Wait()
	_ = w.Link().Close()
	if exit := w.Exit(); exit.Code != 0 {
		t.Errorf("cat ended with %v", exit)
	}
	if n, err := w.Link().Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d, %v after Close", n, err)
	}
}

// Its output, its last words and its exit come in this order.
func TestCommandTellsHowItEnded(t *testing.T) {
	p, _ := serve(t, commands())
	var lines []string
	o := sh("echo one >&2; echo two >&2; printf last; exit 7")
	o.Output = func(line []byte) { lines = append(lines, string(line)) }
	w, err := p.Command(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(w.Link())
	if string(said) != "last" || err != nil {
		t.Errorf("%q, %v", said, err)
	}
	exit := w.Exit()
	if exit.Code != 7 || exit.Stderr != "one\ntwo" || strings.Join(lines, ",") != "one,two" {
		t.Errorf("%+v, lines %q", exit, lines)
	}
	if w.PID() == 0 {
		t.Error("it has no process number")
	}
}

func TestCommandThatDoesNotStart(t *testing.T) {
	p, _ := serve(t, commands())
	if _, err := p.Command(t.Context(), launch.Order{Argv: []string{"/no/such/program"}}); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("got %v", err)
	}
}

func TestKill(t *testing.T) {
	p, _ := serve(t, commands())
	w, err := p.Command(t.Context(), sh("echo up; exec sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(w.Link(), make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if w.RSS() == 0 {
		t.Error("no resident memory")
	}
	if err := w.Kill(); err != nil {
		t.Error(err)
	}
	if exit := w.Exit(); exit.Signal != "killed" {
		t.Errorf("%+v", exit)
	}
	if err := w.Kill(); err != nil {
		t.Errorf("the second Kill: %v", err)
	}
	_ = w.Link().Close()
}

// What was started ends with the link by which it was asked for.
func TestEndOfTheLinkEndsWhatWasStarted(t *testing.T) {
	p, conn := serve(t, commands())
	w, err := p.Command(t.Context(), sh("trap '' HUP TERM; echo up; exec sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(w.Link(), make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if exit := w.Exit(); exit.Code != -1 {
		t.Errorf("%+v", exit)
	}
	if _, err := w.Link().Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("the end of the link is read as %v", err)
	}
	// serve's clean-up waits until the agent's end has seen to it.
}

func TestCanceledStart(t *testing.T) {
	begun, hold := make(chan struct{}), make(chan struct{})
	p, _ := serve(t, &agent.Server{Command: func(o launch.Order) (*launch.Worker, error) {
		close(begun)
		<-hold
		return launch.Command(o)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := p.Command(ctx, sh("sleep 1000")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(hold)
}

func TestDial(t *testing.T) {
	p, _ := serve(t, &agent.Server{Dial: func(_ context.Context, network, address string) (launch.Link, error) {
		if network+address != "tcphost:1" {
			return nil, errors.New("no way to " + address)
		}
		near, far := launch.Pipe()
		go func() {
			_, _ = io.Copy(far, far)
			_ = far.Close()
		}()
		return near, nil
	}})
	if _, err := p.Dial(t.Context(), "tcp", "elsewhere:1"); err == nil || err.Error() != "no way to elsewhere:1" {
		t.Errorf("got %v", err)
	}
	link, err := p.Dial(t.Context(), "tcp", "host:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := link.Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(link, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	_ = link.Close()
}

func TestWhatIsNotServedIsRefused(t *testing.T) {
	p, _ := serve(t, &agent.Server{})
	if _, err := p.Command(t.Context(), sh("true")); !errors.Is(err, mux.ErrReset) {
		t.Errorf("Command: %v", err)
	}
	if _, err := p.Start(t.Context(), launch.Spec{}, "", 0); !errors.Is(err, mux.ErrReset) {
		t.Errorf("Start: %v", err)
	}
	if _, err := p.Dial(t.Context(), "tcp", "host:1"); !errors.Is(err, mux.ErrReset) {
		t.Errorf("Dial: %v", err)
	}
}

// shelf keeps images.
type shelf struct {
	mu   sync.Mutex
	kept map[string][]byte
}

func (s *shelf) Has(hash string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[hash] != nil
}

func (s *shelf) Put(_ context.Context, hash string, size int64, r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, size))
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != hash {
		return errors.New("it is another image")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[hash] = data
	return nil
}

func TestImageIsSentOnce(t *testing.T) {
	s := &shelf{kept: map[string][]byte{}}
	p, _ := serve(t, &agent.Server{Keep: s})
	image := bytes.Repeat([]byte("image"), 500_000)
	sum := sha256.Sum256(image)
	hash := hex.EncodeToString(sum[:])
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(image)), nil }
	for _, first := range []bool{true, false} {
		sent, err := p.PutImage(t.Context(), hash, int64(len(image)), open)
		if err != nil || sent != first {
			t.Errorf("sent %v, %v", sent, err)
		}
	}
	if !bytes.Equal(s.kept[hash], image) {
		t.Error("another image was kept")
	}
	wrong := strings.Repeat("0", 64)
	if _, err := p.PutImage(t.Context(), wrong, int64(len(image)), open); err == nil || err.Error() != "it is another image" {
		t.Errorf("got %v", err)
	}
	if _, err := p.PutImage(t.Context(), "../../etc/passwd", 1, open); !errors.Is(err, mux.ErrReset) {
		t.Errorf("a hash that is a path: %v", err)
	}
}
