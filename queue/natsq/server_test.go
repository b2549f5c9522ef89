package natsq_test

import (
	"bufio"
	"context"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/natsq"
	"github.com/afar-go/afar/queue/queuetest"
)

// process is a server in another process, behind a proxy.
type process struct {
	t    testing.TB
	kind string
	dir  string
	*proxy

	mu    sync.Mutex
	cmd   *exec.Cmd
	input io.Closer
}

func startProcess(t testing.TB, kind string) *process {
	t.Helper()
	p := &process{t: t, kind: kind, dir: t.TempDir(), proxy: newProxy(t)}
	p.start()
	t.Cleanup(func() { p.end(false) })
	return p
}

// start starts the server, and returns when it can be reached.
func (p *process) start() {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), serverVariable+"="+p.kind, "NATSQ_TEST_DIR="+p.dir)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		p.t.Error(err)
		return
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		p.t.Error(err)
		return
	}
	p.cmd, p.input = cmd, input
	line, _ := bufio.NewReader(output).ReadString('\n')
	at, err := url.Parse(strings.TrimSpace(line))
	if err != nil || at.Host == "" {
		p.t.Errorf("the server says %q", line)
		return
	}
	p.to(at.Host)
}

// end ends the server.
func (p *process) end(kill bool) {
	if p.cmd == nil {
		return
	}
	if kill {
		_ = p.cmd.Process.Kill()
	}
	_ = p.input.Close()
	_ = p.cmd.Wait()
	p.cmd = nil
	p.to("")
}

func (p *process) restart(kill bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(kill)
	p.start()
}

// damage changes a part of a blob.
func (p *process) damage(queueName, hash string) {
	nc, err := nats.Connect(p.url())
	must(p.t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(p.t, err)
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	for info := range js.ListStreams(ctx, jetstream.WithStreamListSubject("afar.blob.>")).Info() {
		if info.Config.Metadata["afar-queue"] != queueName {
			continue
		}
		stream, err := js.Stream(ctx, info.Config.Name)
		must(p.t, err)
		all, err := stream.Info(ctx, jetstream.WithSubjectFilter(">"))
		must(p.t, err)
		for subject := range all.State.Subjects {
			if !strings.Contains(subject, "."+hash[:16]+"-") {
				continue
			}
			msg, err := stream.GetLastMsgForSubject(ctx, subject)
			must(p.t, err)
			msg.Data[len(msg.Data)/2] ^= 1
			_, err = js.Publish(ctx, subject, msg.Data)
			must(p.t, err)
		}
	}
}

// open opens a broker at a URL, which is closed at the end of the test.
func open(t testing.TB, url string) *natsq.Broker {
	t.Helper()
	b, err := natsq.Open(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	return b
}

func (p *process) backend(t *testing.T) *queuetest.Backend {
	return &queuetest.Backend{
		Clients:         []queue.Broker{open(t, p.url()), open(t, p.url())},
		Durable:         true,
		DropConnections: p.drop,
		Slow:            p.slow,
		Restart:         func() { p.restart(false) },
		Kill:            func() { p.restart(true) },
		DamageBlob:      p.damage,
	}
}

// Clients of an embedded server in another process, which keeps the queues.
func TestOpen(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func(t *testing.T) *queuetest.Backend { return startProcess(t, "embedded").backend(t) })
}

// Clients of a server that knows nothing of queues: they keep them.
func TestOpenPlain(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func(t *testing.T) *queuetest.Backend { return startProcess(t, "plain").backend(t) })
}

// A server that writes to the disk before anything returns. That it does is not seen from here, but
// that nothing else is different.
func TestOpenSynced(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "synced")
	queuetest.Run(t, func(t *testing.T) *queuetest.Backend {
		return &queuetest.Backend{Clients: []queue.Broker{open(t, p.url()), open(t, p.url())}}
	})
}

// A server that cleans its logs all the time: what is written again is what was there, whenever
// the process is killed.
func TestOpenCleaned(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func(t *testing.T) *queuetest.Backend { return startProcess(t, "cleaned").backend(t) })
}
