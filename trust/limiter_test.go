package trust

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// callerAt returns the n-th of many addresses.
func callerAt(n int) net.Addr {
	ip := make(net.IP, 4)
	binary.BigEndian.PutUint32(ip, 10<<24+uint32(n))
	return &net.TCPAddr{IP: ip, Port: n%60000 + 1}
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Limiter{Burst: 3, Every: 10 * time.Second}
		check := func(address net.Addr, want bool) {
			t.Helper()
			if l.Allow(address) != want {
				t.Errorf("%v: %t, want %t", address, !want, want)
			}
		}
		a, b := callerAt(1), callerAt(2)
		for range 3 {
			check(a, true)
			check(a, true) // asking costs nothing
			l.Failed(a)
		}
		check(a, false)
		check(b, true)
		time.Sleep(9 * time.Second)
		check(a, false)
		time.Sleep(time.Second)
		check(a, true)
		l.Failed(a)
		check(a, false)
		time.Sleep(time.Hour) // no more than a burst is saved up
		for range 3 {
			check(a, true)
			l.Failed(a)
		}
		check(a, false)
		for range 100 { // handshakes that were allowed at the same time
			l.Failed(a)
		}
		time.Sleep(39 * time.Second)
		check(a, false)
		time.Sleep(time.Second)
		check(a, true)
	})
}

func TestLimiterAddresses(t *testing.T) {
	l := Limiter{Burst: 1, Every: time.Hour}
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }
	l.Failed(tcp("2001:db8::1"))
	l.Failed(tcp("::ffff:10.0.0.1"))
	unix := &net.UnixAddr{Net: "unix"}
	l.Failed(unix)
	l.Failed(nil)
	for address, want := range map[net.Addr]bool{
		tcp("2001:db8::ffff:2"): false, // the same /64
		tcp("2001:db8:0:1::1"):  true,
		tcp("10.0.0.1"):         false,
		tcp("10.0.0.2"):         true,
		unix:                    true,
		nil:                     true,
	} {
		if l.Allow(address) != want {
			t.Errorf("%v: %t, want %t", address, !want, want)
		}
	}
}

func TestLimiterForgetsTheLongestQuiet(t *testing.T) {
	l := Limiter{Burst: 1, Every: time.Hour, Addresses: 100}
	for n := range 100 {
		l.Failed(callerAt(n))
	}
	l.Failed(callerAt(0)) // it is not quiet
	for n := 100; n < 10_000; n++ {
		l.Failed(callerAt(n))
		if n == 100 && (l.Allow(callerAt(0)) || !l.Allow(callerAt(1))) {
			t.Error("another than the longest quiet was forgotten")
		}
	}
	if len(l.buckets) != 100 || l.recent.Len() != 100 {
		t.Errorf("%d and %d addresses are remembered", len(l.buckets), l.recent.Len())
	}
}

func TestLimiterConcurrently(t *testing.T) {
	l := Limiter{Addresses: 8}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for n := range 1000 {
				l.Allow(callerAt(n % 16))
				l.Failed(callerAt(n % 16))
			}
			for range 20 {
				l.Failed(callerAt(99))
			}
		})
	}
	all.Wait()
	if l.Allow(callerAt(99)) {
		t.Error("an address that failed again and again is allowed")
	}
}
