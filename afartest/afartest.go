// Package afartest gives tests a pool whose workers are goroutines behind the
// same encoding and link protocol as real ones, and that can be made to fail:
// workers are killed, links are delayed, stalled and cut. It works inside a
// testing/synctest bubble, where timeouts and keepalive take no time and happen
// in the same order every time.
//
//	func TestIndexSurvivesALostWorker(t *testing.T) {
//		pool := afartest.Open(t, 3)
//		pool.Kill(0)
//		…
//	}
package afartest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/testlink"
)

// Pool is an afar.Pool of in-process workers with faults on demand. Workers are
// named by their position, from 0; a number that is none fails the test. Its
// methods may be used concurrently.
type Pool struct {
	*afar.Pool
	t testing.TB

	mu    sync.Mutex
	links map[string]*testlink.Link // by worker id: of the worker there is now
}

// Open opens a pool of n workers with the default configuration. It is closed
// when the test ends.
func Open(t testing.TB, n int) *Pool {
	t.Helper()
	return OpenConfig(t, afar.Config{}, n)
}

// OpenConfig opens a pool of n workers. It is closed when the test ends.
func OpenConfig(t testing.TB, c afar.Config, n int) *Pool {
	t.Helper()
	p := &Pool{t: t, links: map[string]*testlink.Link{}}
	ctx := launch.WithWrapper(context.Background(), p.wrap)
	pool, err := c.Open(ctx, fmt.Sprintf("inproc:%d", n))
	if err != nil {
		t.Fatal(err)
	}
	p.Pool = pool
	t.Cleanup(func() { _ = pool.Close() })
	return p
}

func (p *Pool) wrap(id string, link launch.Link) launch.Link {
	l := testlink.Wrap(link)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links[id] = l
	return l
}

// Kill ends a worker as if its process had been killed. Its calls are tried
// again within their policy, and another worker takes its place. The goroutines
// of its functions go on until they notice that their context has ended.
func (p *Pool) Kill(worker int) {
	p.t.Helper()
	_ = p.gateway(worker).Kill()
}

// Cut ends a worker's link in both directions, at once.
func (p *Pool) Cut(worker int) {
	p.t.Helper()
	p.link(worker).Cut()
}

// Delay makes everything that passes a worker's link from now on, in either
// direction, take so long.
func (p *Pool) Delay(worker int, d time.Duration) {
	p.t.Helper()
	p.link(worker).Delay(d)
}

// Stall lets no more bytes pass a worker's link, without an error: a cable that
// was pulled out. Keepalive notices, unless Resume comes first.
func (p *Pool) Stall(worker int) {
	p.t.Helper()
	p.link(worker).Stall()
}

// Resume ends a Stall.
func (p *Pool) Resume(worker int) {
	p.t.Helper()
	p.link(worker).Resume()
}

func (p *Pool) gateway(worker int) *afar.Gateway {
	p.t.Helper()
	gateways := p.Gateways()
	if worker < 0 || worker >= len(gateways) {
		p.t.Fatalf("afartest: no worker %d: the pool has %d", worker, len(gateways))
	}
	return gateways[worker]
}

func (p *Pool) link(worker int) *testlink.Link {
	p.t.Helper()
	id := p.gateway(worker).ID()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.links[id]
}
