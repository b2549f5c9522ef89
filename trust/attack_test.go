package trust

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// attack sends bytes to a node, ends its side if told to, and gives what Server
// returned. Whatever the node answers is read, as long as it likes.
func attack(t *testing.T, s *scene, transport string, attacker func(net.Conn)) verdictOf {
	t.Helper()
	near, far := connection(t, transport)
	done := s.serve(t.Context(), far)
	attacked := make(chan struct{})
	go func() {
		defer close(attacked)
		attacker(near)
	}()
	v := <-done
	if v.err == nil {
		far.Close() // or the attacker would wait for more
	}
	<-attacked
	if v.err == nil || v.link != nil || v.peer != nil {
		t.Errorf("%s: let in: %+v", transport, v.peer)
	}
	if _, err := far.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("%s: the connection is still open: %v", transport, err)
	}
	return v
}

// sendAll writes what is to be written while it reads what comes back.
func sendAll(text []byte) func(net.Conn) {
	return func(conn net.Conn) {
		read := make(chan struct{})
		go func() { defer close(read); _, _ = io.Copy(io.Discard, conn) }()
		_, _ = conn.Write(text)
		<-read
	}
}

// record is the header of a TLS record of a handshake, with its body.
func record(body []byte) []byte {
	return append([]byte{22, 3, 1, byte(len(body) >> 8), byte(len(body))}, body...)
}

func TestGarbage(t *testing.T) {
	random := make([]byte, 2*maxHandshake)
	chacha := mathrand.NewChaCha8([32]byte{1})
	_, _ = chacha.Read(random)
	for name, text := range map[string][]byte{
		"random":        random,
		"zeros":         make([]byte, 2*maxHandshake),
		"ssh":           []byte("SSH-2.0-OpenSSH_9.2\r\n"),
		"http":          []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"empty record":  record(nil),
		"random record": record(random[:1<<14]),
		"alert":         {21, 3, 3, 0, 2, 2, 80},
		"app data":      append([]byte{23, 3, 3, 64, 0}, random[:1<<14]...),
	} {
		for _, transport := range transports {
			s := newScene(t, "")
			if v := attack(t, s, transport, sendAll(text)); errors.Is(v.err, context.DeadlineExceeded) {
				t.Errorf("%s, %s: only time ended it", transport, name)
			}
		}
	}
}

// A message of a handshake may be large in TLS, over many records.
func TestOversized(t *testing.T) {
	hello := []byte{1, 0, 255, 255} // a ClientHello that says that 65,535 bytes follow
	var text []byte
	for body := append(hello, make([]byte, 4*maxHandshake)...); len(body) > 0; {
		n := min(len(body), 1000)
		text = append(text, record(body[:n])...)
		body = body[n:]
	}
	for _, transport := range transports {
		v := attack(t, newScene(t, ""), transport, sendAll(text))
		if !errors.Is(v.err, errOversized) {
			t.Errorf("%s: %v", transport, v.err)
		}
	}
}

// The time is for the whole handshake: bytes that trickle buy no more of it.
func TestSlow(t *testing.T) {
	hello := record(append([]byte{1, 0, 40, 0}, make([]byte, 1<<10)...))
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		v := attack(t, newScene(t, ""), "pipe", func(conn net.Conn) {
			for _, b := range hello {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
		checkTimeout(t, start, v.err, context.DeadlineExceeded)
	})
}

func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		v := attack(t, newScene(t, ""), "pipe", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
		checkTimeout(t, start, v.err, context.DeadlineExceeded)
	})
}

// The key was proven, so the log has it, even if the caller reads no refusal.
func TestCallerReadsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		settings := common(newTestKey(t, ""))
		settings.InsecureSkipVerify = true
		v := attack(t, newScene(t, ""), "pipe", func(conn net.Conn) { _ = tls.Client(conn, settings).Handshake() })
		checkTimeout(t, start, v.err, ErrUnknownKey)
	})
}

// checkTimeout checks that a handshake took all the time that it may have.
func checkTimeout(t *testing.T, start time.Time, err, want error) {
	t.Helper()
	if took := time.Since(start).Truncate(time.Second); took != defaultTimeout {
		t.Errorf("it took %s", took)
	}
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
}

// A connection that ends in the middle is over at once.
func TestHalfOpen(t *testing.T) {
	for _, transport := range transports {
		for size := range 3 {
			v := attack(t, newScene(t, ""), transport, func(conn net.Conn) {
				_, _ = conn.Write(record(make([]byte, 100))[:size*3])
				conn.Close()
			})
			if errors.Is(v.err, context.DeadlineExceeded) {
				t.Errorf("%s: only time ended it", transport)
			}
		}
	}
}

// certificateOf makes a self-signed certificate for any key.
func certificateOf(t *testing.T, public, private any) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

// spoilers turn what either side must be into what it must not be, and name
// what Server says of such a caller.
func spoilers(t *testing.T) map[string]spoiler {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := newTestKey(t, "")
	rsaCertificate, ecCertificate := certificateOf(t, &rsaKey.PublicKey, rsaKey), certificateOf(t, &ecKey.PublicKey, ecKey)
	return map[string]spoiler{
		"TLS 1.2": {"unsupported versions", func(c *tls.Config) { c.MinVersion, c.MaxVersion = 0, tls.VersionTLS12 }},
		"TLS 1.0": {"unsupported versions", func(c *tls.Config) {
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10
		}},
		"no ALPN":     {"does not speak afar/1", func(c *tls.Config) { c.NextProtos = nil }},
		"other ALPN":  {"unsupported application protocols", func(c *tls.Config) { c.NextProtos = []string{"h2", "afar/0"} }},
		"no key":      {"didn't provide a certificate", func(c *tls.Config) { c.Certificates = nil }},
		"unknown key": {ErrUnknownKey.Error(), func(c *tls.Config) { c.Certificates[0] = other.certificate }},
		"RSA":         {"a certificate for RSA", func(c *tls.Config) { c.Certificates[0] = rsaCertificate }},
		"ECDSA":       {"a certificate for ECDSA", func(c *tls.Config) { c.Certificates[0] = ecCertificate }},
		"two certificates": {"2 certificates instead of one", func(c *tls.Config) {
			own := c.Certificates[0]
			own.Certificate = [][]byte{own.Certificate[0], other.certificate.Certificate[0]}
			c.Certificates[0] = own
		}},
		"a stolen certificate": {"invalid signature by the client certificate", func(c *tls.Config) {
			c.Certificates[0].PrivateKey = other.private
		}},
	}
}

type spoiler struct {
	says  string
	spoil func(*tls.Config)
}

func TestDowngrade(t *testing.T) {
	for name, s := range spoilers(t) {
		checkSpoiled(t, name, s.says, s.spoil)
	}
}

// checkSpoiled tries a handshake in which first the caller, then the node is
// not as it must be, and no other side is tolerant.
func checkSpoiled(t *testing.T, name, says string, spoil func(*tls.Config)) {
	t.Helper()
	s := newScene(t, "")
	v := attack(t, s, "tcp", func(conn net.Conn) {
		settings := common(s.caller)
		settings.InsecureSkipVerify = true
		spoil(settings)
		link := tls.Client(conn, settings)
		if err := readVerdict(link); err == nil {
			t.Errorf("caller with %s: welcome", name)
		}
	})
	if v.err != nil && !strings.Contains(v.err.Error(), says) {
		t.Errorf("caller with %s: %v, want %q", name, v.err, says)
	}

	near, far := connection(t, "tcp")
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		settings := common(s.node)
		settings.ClientAuth = tls.RequestClientCert
		spoil(settings)
		link := tls.Server(far, settings)
		if link.Handshake() == nil {
			_ = sendWelcome(link)
		}
	}()
	link, err := Client(t.Context(), near, s.client)
	if err == nil || link != nil || errors.Is(err, ErrRefused) {
		t.Errorf("node with %s: %v", name, err)
	}
	t.Logf("node with %s: %v", name, err)
	<-done
}

// What a caller or a node said once is of no use to whoever has recorded it.
func TestReplay(t *testing.T) {
	s := newScene(t, "")
	near, far := connection(t, "tcp")
	fromCaller, fromNode := &recorder{Conn: near}, &recorder{Conn: far}
	link, server, err := s.connect(t, fromCaller, fromNode)
	if err := errors.Join(err, server.err); err != nil {
		t.Fatal(err)
	}
	if _, err := link.Write([]byte("a call")); err != nil {
		t.Fatal(err)
	}
	for _, transport := range transports {
		v := attack(t, s, transport, sendAll(fromCaller.written))
		if errors.Is(v.err, context.DeadlineExceeded) {
			t.Errorf("%s: only time ended it", transport)
		}
	}
	near, far = connection(t, "tcp")
	done := make(chan struct{})
	go func() { defer close(done); sendAll(fromNode.written)(far) }()
	if _, err := Client(t.Context(), near, s.client); err == nil {
		t.Error("a recorded node is believed")
	}
	<-done
}

// Nothing that could be resumed is given out.
func TestNoResumption(t *testing.T) {
	s := newScene(t, "")
	cache := tls.NewLRUClientSessionCache(8)
	for range 2 {
		near, far := connection(t, "tcp")
		done := s.serve(t.Context(), far)
		settings := common(s.caller)
		settings.InsecureSkipVerify = true
		settings.ServerName = "node"
		settings.ClientSessionCache = cache
		link := tls.Client(near, settings)
		if err := readVerdict(link); err != nil {
			t.Fatal(err)
		}
		server := <-done
		if _, err := server.link.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(link, make([]byte, 1)); err != nil { // tickets would have come before
			t.Fatal(err)
		}
		if link.ConnectionState().DidResume {
			t.Error("resumed")
		}
	}
	if _, ok := cache.Get("node"); ok {
		t.Error("the node gave out a ticket")
	}
}

// Not a byte of what comes next is sent before the verdict.
func TestRefusedClientSendsNothingMore(t *testing.T) {
	sizes := map[string]int{}
	for _, options := range []string{"", "revoked"} {
		s := newScene(t, options)
		near, far := connection(t, "tcp")
		caller := &recorder{Conn: near}
		if _, _, err := s.connect(t, caller, far); (err != nil) != (options != "") {
			t.Fatal(err)
		}
		records := 0
		for rest := caller.written; len(rest) >= 5; records++ {
			rest = rest[min(len(rest), 5+int(rest[3])<<8+int(rest[4])):]
		}
		sizes[options] = records
	}
	if sizes[""] != sizes["revoked"] {
		t.Errorf("records sent by callers who are let in, and refused: %v", sizes)
	}
}

// A thousand who are nobody cost nothing when they are gone, and do not keep a
// caller out while they are there.
func TestFlood(t *testing.T) {
	const strangers = 1000
	s := newScene(t, "")
	s.server.Timeout = time.Minute // they are cut off below, not by time
	flood(t, s, strangers)         // the runtime keeps what goroutines were made of
	goroutines, heap := measure()
	during := flood(t, s, strangers)
	after, heapAfter := measure()
	t.Logf("goroutines %d, then %d; heap %d KiB, during %d KiB, then %d KiB",
		goroutines, after, heap>>10, during>>10, heapAfter>>10)
	if after > goroutines+5 {
		t.Errorf("%d goroutines before, %d after", goroutines, after)
	}
	if grown := int64(heapAfter) - int64(heap); grown > 256<<10 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if each := (int64(during) - int64(heap)) / strangers; each > 32<<10 {
		t.Errorf("a stranger holds %d bytes", each)
	}
}

// measure returns how many goroutines there are, and how much is held.
func measure() (goroutines int, heap uint64) {
	var stats runtime.MemStats
	for range 3 { // the second empties what pools keep for a while
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return runtime.NumGoroutine(), stats.HeapAlloc
}

// flood has so many strangers connect and stay; then a caller; then all are cut
// off. It returns how much was held at the height of it.
func flood(t *testing.T, s *scene, strangers int) (held uint64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	accepted := make(chan struct{}, strangers+1)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			all.Go(func() {
				if link, peer, err := Server(ctx, conn, s.server); err == nil {
					if peer.Key != s.caller.Public() {
						t.Error("a stranger is let in")
					}
					link.NetConn().Close()
				}
			})
		}
	})
	hello := firstMessage(t, s)
	var conns []net.Conn
	for n := range strangers {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		<-accepted
		text := [][]byte{nil, hello[:7], hello, record(bytes.Repeat([]byte{1, 0, 64, 0}, 100))}[n%4]
		if _, err := conn.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Client(t.Context(), conn, s.client); err != nil {
		t.Errorf("among %d strangers: %v", strangers, err)
	}
	_, held = measure()
	conn.Close()
	cancel(errors.New("cut off"))
	listener.Close()
	all.Wait()
	for _, conn := range conns {
		conn.Close()
	}
	return held
}

// firstMessage is what an honest caller sends first.
func firstMessage(t *testing.T, s *scene) []byte {
	t.Helper()
	near, far := net.Pipe()
	first := make(chan []byte, 1)
	go func() {
		defer far.Close()
		message := make([]byte, 1<<14)
		n, _ := far.Read(message)
		first <- message[:n]
	}()
	_, _ = Client(t.Context(), near, s.client)
	return <-first
}
