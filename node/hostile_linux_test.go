package node_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar/node"
	"github.com/afar-go/afar/trust"
	"pgregory.net/rapid"
)

func nodeLog(s *site) *slog.Logger { return slog.New(s.log) }

// from connects to the node from another address than honest callers do.
func (s *site) from(address string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return d.Dial("tcp", s.address)
}

// A thousand who prove nothing, in all ways, change nothing for a caller who is in,
// nor for one who comes; and the node has nothing of them.
func TestThousandStrangers(t *testing.T) {
	s := newSite(t, "", func(c *node.Config) { c.HandshakeTimeout = 2 * time.Second })
	pool := s.open("?workers=1")
	_, err := look.On(pool)(within(t), 0)
	must(t, err)
	runtime.GC()
	var before, during runtime.MemStats
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()

	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	noise := make([]byte, 512)
	_, _ = rand.Read(noise)
	for i := range 1000 {
		c, err := s.from([]string{"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"}[i%4])
		must(t, err)
		conns = append(conns, c)
		switch i % 3 { // the others say nothing
		case 0:
			_, _ = c.Write(noise)
		case 1:
			_, _ = c.Write([]byte{22, 3, 1, 0, 200}) // the beginning of a record
		}
	}
	if n := runtime.NumGoroutine() - goroutines; n > 500 {
		t.Errorf("%d goroutines for strangers", n)
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	if n := int64(during.HeapInuse) - int64(before.HeapInuse); n > 32<<20 {
		t.Errorf("%d bytes for strangers", n)
	}
	_, err = look.On(pool)(within(t), 1)
	must(t, err)
	s.open("?workers=1")

	// The node ends them all by itself.
	var ended sync.WaitGroup
	for _, c := range conns {
		ended.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, c); os.IsTimeout(err) {
				t.Error("the node keeps a stranger")
			}
		})
	}
	ended.Wait()
	_, err = look.On(pool)(within(t), 2)
	must(t, err)
	s.log.wait(t, 1, "refused since the last such line")
	if n := len(s.log.all()); n > 100 {
		t.Errorf("strangers have filled the log with %d lines", n)
	}
}

// A thousand who are silent, from few addresses or many, do not keep a caller out for as
// long as they may be silent, and the node has nothing of them.
func TestSilentStrangers(t *testing.T) {
	for _, addresses := range []int{1, 2, 3, 10, 100} {
		t.Run(fmt.Sprint(addresses), func(t *testing.T) {
			s := newSite(t, "", func(c *node.Config) { c.HandshakeTimeout = 10 * patience })
			s.place(t) // so that everything is there that a caller needs
			var before, during runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			goroutines := runtime.NumGoroutine()
			var conns []net.Conn
			for i := range 1000 {
				c, err := s.from(fmt.Sprintf("127.0.7.%d", 1+i%addresses))
				must(t, err)
				conns = append(conns, c)
			}
			t.Cleanup(func() {
				for _, c := range conns {
					_ = c.Close()
				}
			})
			for range 3 {
				place, _ := s.place(t)
				_, err := place.Status(within(t))
				must(t, err)
			}
			if n := runtime.NumGoroutine() - goroutines; n > 500 {
				t.Errorf("%d goroutines for strangers", n)
			}
			runtime.GC()
			runtime.ReadMemStats(&during)
			if n := int64(during.HeapInuse) - int64(before.HeapInuse); n > 32<<20 {
				t.Errorf("%d bytes for strangers", n)
			}
			hanging := 0
			for _, c := range conns {
				_ = c.SetReadDeadline(time.Now().Add(-time.Second))
				if _, err := c.Read(make([]byte, 1)); os.IsTimeout(err) {
					hanging++
				}
			}
			if hanging == 0 {
				t.Error("no stranger is there any more")
			}
		})
	}
}

// Who comes drop by drop is cut when the time for a handshake is over.
func TestSlowStranger(t *testing.T) {
	s := newSite(t, "", func(c *node.Config) { c.HandshakeTimeout = 200 * time.Millisecond })
	c, err := s.from("127.0.0.2")
	must(t, err)
	defer c.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	over := time.After(patience)
	for drop := []byte{22}; ; drop = []byte{3} {
		select {
		case <-tick.C:
		case <-over:
			t.Fatal("the node waits for ever")
		}
		if _, err := c.Write(drop); err != nil {
			break
		}
	}
	s.log.wait(t, 1, "refused", "127.0.0.2")
}

// enter proves the caller's key, and gives the bare link.
func (s *site) enter(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	must(t, err)
	link, err := trust.Client(context.Background(), conn, &trust.ClientConfig{Key: s.callerKey, Pinned: s.nodeKey.Public()})
	must(t, err)
	t.Cleanup(func() { _ = link.Close() })
	return link
}

// A caller who is known and says anything at all harms itself only.
func TestGarbageOfACaller(t *testing.T) {
	s := newSite(t, "")
	place, _ := s.place(t)
	rapid.Check(t, func(rt *rapid.T) {
		link := s.enter(t)
		defer link.Close()
		_, _ = link.Write(rapid.SliceOfN(rapid.Byte(), 1, 4096).Draw(rt, "garbage"))
		_ = link.(interface{ CloseWrite() error }).CloseWrite()
		_ = link.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, link); os.IsTimeout(err) {
			rt.Fatal("the node waits for more")
		}
	})
	_, err := place.Status(within(t))
	must(t, err)
}
