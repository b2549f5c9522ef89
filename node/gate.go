package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// gate bounds how many callers are on their way in. Others wait for them, and networks take
// turns: the next one in is of the network that has fewest on their way in, and of those the
// one that has waited longest since it had somebody let in. Whoever has been on the way in
// for longer than grace makes room for those who wait, first of the network that has most.
//
// So a caller from a network of which nobody else is on the way in is let in within grace,
// and has as long as a handshake may take, whatever others send or do not send, as long as
// they come from fewer networks than may be on their way in. Against more networks there
// is no such promise: it waits for its turn, of which grace gives as many as may be on their
// way in, and may have to make room itself, but not before grace is over.
type gate struct {
	most int // in all; half of it from one address, and two from one where many have failed

	mu       sync.Mutex
	in       int
	waiting  int
	turns    int // let in, or come
	networks map[netip.Prefix]*network
	timer    *time.Timer // at the end of somebody's grace, for whom others wait; or nil
}

// network is those of one network, which are some.
type network struct {
	address     netip.Prefix
	in, waiting []*visitor // the oldest first
	turn        int        // the turn in which one was let in last, or in which the first came
}

// visitor is one who is on the way in, or waits for that.
type visitor struct {
	network *network
	share   int           // of the gate, for its network
	in      chan struct{} // closed when it is let in
	since   time.Time     // when that was

	ctx context.Context // ends when it has to go, for its cause
	end context.CancelCauseFunc
}

const (
	// grace is how long a visitor may be on the way in when others wait. A handshake takes
	// a round trip, and some milliseconds of this host's time.
	grace = time.Second
	// penalty is how many may be on their way in at a time from an address where too many
	// have failed: those who are known get in from there too, if not as fast.
	penalty = 2
	// At most so many times as many wait as may be on their way in. Of more the oldest goes
	// of the network that has most of them.
	maxWaiting = 2
)

var (
	errCrowded = errors.New("too many are on their way in")
	errSlow    = fmt.Errorf("%w, and this one was for more than %v", errCrowded, grace)
)

// enter waits to be let in, for as long as patience. Whoever was has to be on the way in
// for no longer than the visitor's context lasts, and leave must follow.
func (g *gate) enter(ctx context.Context, patience time.Duration, from net.Addr, punished bool) (*visitor, error) {
	v := &visitor{share: max(1, g.most/2), in: make(chan struct{})}
	if punished {
		v.share = min(v.share, penalty)
	}
	v.ctx, v.end = context.WithCancelCause(ctx)
	g.come(v, networkOf(from))
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-v.in:
		return v, nil
	case <-timer.C:
		v.end(errCrowded)
	case <-v.ctx.Done():
	}
	g.leave(v)
	return nil, context.Cause(v.ctx)
}

// come has a visitor wait.
func (g *gate) come(v *visitor, from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.networks[from]
	if n == nil {
		if g.networks == nil {
			g.networks = map[netip.Prefix]*network{}
		}
		g.turns++
		n = &network{address: from, turn: g.turns}
		g.networks[from] = n
	}
	v.network = n
	n.waiting = append(n.waiting, v)
	g.waiting++
	g.settle()
	if g.waiting > maxWaiting*g.most {
		g.dismiss(g.crowd().waiting[0], errCrowded)
	}
}

// leave is the end of a visitor's way in, or of its waiting.
func (g *gate) leave(v *visitor) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dismiss(v, nil)
	g.settle()
}

// dismiss takes a visitor off, if it is there still; g.mu is held. One that was let in
// ends now: it counts no longer, though its handshake may take a moment to notice.
func (g *gate) dismiss(v *visitor, why error) {
	n := v.network
	if i := slices.Index(n.in, v); i >= 0 {
		n.in = slices.Delete(n.in, i, i+1)
		g.in--
	} else if i := slices.Index(n.waiting, v); i >= 0 {
		n.waiting = slices.Delete(n.waiting, i, i+1)
		g.waiting--
	}
	if len(n.in)+len(n.waiting) == 0 && g.networks[n.address] == n {
		delete(g.networks, n.address)
	}
	v.end(why)
}

// settle lets in whom there is room for, or is now; g.mu is held.
func (g *gate) settle() {
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	for now := time.Now(); ; {
		next, soonest := g.next(now)
		if next == nil {
			if soonest > 0 {
				g.timer = time.AfterFunc(soonest, func() {
					g.mu.Lock()
					defer g.mu.Unlock()
					g.settle()
				})
			}
			return
		}
		if slow := g.obstacle(next, g.largest()); slow != nil {
			g.dismiss(slow, errSlow)
		} else {
			g.admit(next, now)
		}
	}
}

// next is whose turn it is, of those for whom there is room or can be made now; if there is
// none, soonest is when one can be, or 0. g.mu is held.
func (g *gate) next(now time.Time) (next *network, soonest time.Duration) {
	largest := g.largest()
	for _, n := range g.networks {
		if len(n.waiting) == 0 {
			continue
		}
		if slow := g.obstacle(n, largest); slow != nil {
			if left := grace - now.Sub(slow.since); left > 0 {
				if soonest == 0 || left < soonest {
					soonest = left
				}
				continue
			}
		}
		if next == nil || len(n.in) < len(next.in) || len(n.in) == len(next.in) && n.turn < next.turn {
			next = n
		}
	}
	return next, soonest
}

// obstacle is who has to make room for the next of a network, nil when there is room.
// g.mu is held.
func (g *gate) obstacle(n, largest *network) *visitor {
	switch {
	case len(n.in) >= n.waiting[0].share:
		return n.in[0]
	case g.in < g.most:
		return nil
	case len(largest.in) > len(n.in):
		return largest.in[0]
	}
	return n.in[0]
}

// largest is the network of which most are on their way in; g.mu is held.
func (g *gate) largest() (most *network) {
	for _, n := range g.networks {
		if most == nil || len(n.in) > len(most.in) || len(n.in) == len(most.in) && n.turn < most.turn {
			most = n
		}
	}
	return most
}

// crowd is the network of which most wait, of several the one whose turn is the last; g.mu
// is held.
func (g *gate) crowd() (most *network) {
	for _, n := range g.networks {
		if most == nil || len(n.waiting) > len(most.waiting) || len(n.waiting) == len(most.waiting) && n.turn > most.turn {
			most = n
		}
	}
	return most
}

// admit lets the first of a network in; g.mu is held.
func (g *gate) admit(n *network, now time.Time) {
	v := n.waiting[0]
	n.waiting = slices.Delete(n.waiting, 0, 1)
	g.waiting--
	n.in = append(n.in, v)
	g.in++
	g.turns++
	n.turn = g.turns
	v.since = now
	close(v.in)
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
