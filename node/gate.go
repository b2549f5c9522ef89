package node

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// gate bounds how many callers are on their way in.
type gate struct {
	most int // in all; an eighth of it from one address

	mu  sync.Mutex
	all int
	of  map[netip.Prefix]int
}

// enter lets a caller in, or not; leave must follow if it does.
func (g *gate) enter(from net.Addr) bool {
	network := networkOf(from)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= g.most || g.of[network] >= max(1, g.most/8) {
		return false
	}
	if g.of == nil {
		g.of = map[netip.Prefix]int{}
	}
	g.all++
	g.of[network]++
	return true
}

func (g *gate) leave(from net.Addr) {
	network := networkOf(from)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.of[network]--; g.of[network] == 0 {
		delete(g.of, network)
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
