package trust

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A Limiter slows down addresses whose handshakes fail. The owner of a listener
// asks Allow before every [Server], closes the connection if it says no, and
// tells Failed of every handshake that failed:
//
//	if !limiter.Allow(conn.RemoteAddr()) { conn.Close(); continue }
//
// Every address may fail Burst times at once, and once in every Every after
// that; failures of handshakes that were allowed at the same time count, up to
// another Burst. All of an IPv6 /64 are one address. Unix sockets, which their
// files protect, are not limited.
//
// The zero value is ready for use. All methods may be called concurrently. It
// must not be copied, and its fields must not be changed after the first use.
type Limiter struct {
	Burst     int           // failures at once; 0 means 10
	Every     time.Duration // one more after each; 0 means 6 s
	Addresses int           // remembered at most, the longest quiet forgotten; 0 means 4,096

	mu      sync.Mutex
	buckets map[netip.Prefix]*list.Element
	recent  list.List // of *bucket, the one that failed last in front
}

// A bucket is what an address may still do.
type bucket struct {
	network netip.Prefix
	tokens  float64   // at since; one is for one failure
	since   time.Time // of the last failure
}

// Allow reports whether a handshake with a caller at this address should be
// tried.
func (l *Limiter) Allow(address net.Addr) bool {
	network, ok := networkOf(address)
	if !ok {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	element, ok := l.buckets[network]
	return !ok || l.tokens(element.Value.(*bucket), time.Now()) >= 1
}

// Failed says that a handshake with a caller at this address has failed.
func (l *Limiter) Failed(address net.Addr) {
	network, ok := networkOf(address)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	element, ok := l.buckets[network]
	if !ok {
		element = l.add(&bucket{network: network, tokens: l.burst(), since: now})
	}
	b := element.Value.(*bucket)
	b.tokens = max(l.tokens(b, now)-1, -l.burst())
	b.since = now
	l.recent.MoveToFront(element)
}

// add makes room for a bucket and puts it there.
func (l *Limiter) add(b *bucket) *list.Element {
	if l.buckets == nil {
		l.buckets = map[netip.Prefix]*list.Element{}
	}
	limit := l.Addresses
	if limit <= 0 {
		limit = 4096
	}
	for len(l.buckets) >= limit {
		oldest := l.recent.Remove(l.recent.Back()).(*bucket)
		delete(l.buckets, oldest.network)
	}
	element := l.recent.PushFront(b)
	l.buckets[b.network] = element
	return element
}

// tokens returns what is in a bucket now.
func (l *Limiter) tokens(b *bucket, now time.Time) float64 {
	every := l.Every
	if every <= 0 {
		every = 6 * time.Second
	}
	return min(b.tokens+float64(now.Sub(b.since))/float64(every), l.burst())
}

// burst returns how much a bucket holds.
func (l *Limiter) burst() float64 {
	if l.Burst <= 0 {
		return 10
	}
	return float64(l.Burst)
}

// networkOf returns what counts as one address.
func networkOf(address net.Addr) (network netip.Prefix, ok bool) {
	ip := hostOf(address).ip
	if !ip.IsValid() {
		return netip.Prefix{}, false
	}
	bits := 32
	if ip.Is6() {
		bits = 64 // whoever has one address of it usually has them all
	}
	network, err := ip.Prefix(bits)
	return network, err == nil
}
