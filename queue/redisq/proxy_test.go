package redisq_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy is a port that leads to a server's socket, on a way that a test can hurt.
type proxy struct {
	listener net.Listener
	to       func() (net.Conn, error)
	delay    atomic.Int64 // of everything that is said
	stalled  atomic.Bool  // nothing that is said arrives any more

	mu    sync.Mutex
	conns map[net.Conn]bool
	wait  sync.WaitGroup
}

// startProxy starts one. It ends with the test.
func startProxy(t testing.TB, socket string) *proxy {
	t.Helper()
	return startProxyTo(t, func() (net.Conn, error) { return net.Dial("unix", socket) })
}

func startProxyTo(t testing.TB, to func() (net.Conn, error)) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to, conns: map[net.Conn]bool{}}
	p.wait.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.drop()
		p.wait.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := p.to()
		if err != nil {
			_ = near.Close()
			continue
		}
		p.mu.Lock()
		p.conns[near], p.conns[far] = true, true
		p.mu.Unlock()
		p.wait.Go(func() { p.pass(near, far) })
		p.wait.Go(func() { p.pass(far, near) })
	}
}

// pass passes on what is said, until one side ends.
func (p *proxy) pass(from, to net.Conn) {
	defer p.end(from, to)
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if d := p.delay.Load(); d > 0 {
			pause := time.NewTimer(time.Duration(d))
			<-pause.C
		}
		if n > 0 && !p.stalled.Load() {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) end(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}

// drop cuts the connections that there are.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// slow makes everything take so much longer.
func (p *proxy) slow(d time.Duration) { p.delay.Store(int64(d)) }
