package node

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// gate bounds how many callers are on their way in. Others wait for them.
type gate struct {
	most int // in all; half of it from one address, and two from one where many have failed

	mu      sync.Mutex
	all     int
	of      map[netip.Prefix]int
	waiting []*visitor // in the order in which they came
}

// visitor is one who waits at the gate.
type visitor struct {
	network netip.Prefix
	share   int           // of the gate, for its address
	in      chan struct{} // closed when it is let in
}

// penalty is how many may be on their way in at a time from an address where too many
// have failed: those who are known get in from there too, if not as fast.
const penalty = 2

// At most so many times as many wait as may be on their way in, and from one address
// half of that.
const maxWaiting = 2

// enter waits to be let in, for as long as ctx lasts; leave must follow if it is. It
// is not when too many wait already.
func (g *gate) enter(ctx context.Context, from net.Addr, punished bool) bool {
	v := &visitor{network: networkOf(from), share: max(1, g.most/2), in: make(chan struct{})}
	if punished {
		v.share = min(v.share, penalty)
	}
	g.mu.Lock()
	if g.room(v) {
		g.admit(v)
		g.mu.Unlock()
		return true
	}
	own := 0
	for _, other := range g.waiting {
		if other.network == v.network {
			own++
		}
	}
	if len(g.waiting) >= maxWaiting*g.most || own >= maxWaiting*g.most/2 {
		g.mu.Unlock()
		return false
	}
	g.waiting = append(g.waiting, v)
	g.mu.Unlock()
	select {
	case <-v.in:
		return true
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting, v); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		return false
	}
	return true // it was let in meanwhile
}

// room tells whether there is room for a visitor; g.mu is held.
func (g *gate) room(v *visitor) bool { return g.all < g.most && g.of[v.network] < v.share }

// admit lets a visitor in; g.mu is held.
func (g *gate) admit(v *visitor) {
	if g.of == nil {
		g.of = map[netip.Prefix]int{}
	}
	g.all++
	g.of[v.network]++
	close(v.in)
}

func (g *gate) leave(from net.Addr) {
	network := networkOf(from)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.of[network]--; g.of[network] == 0 {
		delete(g.of, network)
	}
	for i, v := range g.waiting {
		if g.room(v) {
			g.waiting = slices.Delete(g.waiting, i, i+1)
			g.admit(v)
			return
		}
	}
}

// networkOf is what counts as one address: who has one of an IPv6 /64 usually has
// them all.
func networkOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	network, _ := ip.WithZone("").Prefix(bits) // an invalid one is one too
	return network
}

// Refusals are logged so many at once, and one more after each period.
const (
	refusalBurst = 20
	refusalEvery = time.Second
)

// refusals logs who was not let in, and does not let those who try all the time fill
// the log.
type refusals struct {
	log *slog.Logger

	mu      sync.Mutex
	tokens  float64
	since   time.Time
	skipped int
}

func (r *refusals) add(from net.Addr, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.since.IsZero() {
		r.tokens = refusalBurst
	}
	r.tokens = min(refusalBurst, r.tokens+float64(now.Sub(r.since))/float64(refusalEvery))
	r.since = now
	if r.tokens < 1 {
		r.skipped++
		return
	}
	r.tokens--
	args := []any{"from", from.String(), "why", why}
	if r.skipped > 0 {
		args = append(args, "refused since the last such line", r.skipped)
		r.skipped = 0
	}
	r.log.Warn("refused", args...)
}
