package trust

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// checkEcho sends bytes both ways, much more than a handshake may have.
func checkEcho(t *testing.T, near, far net.Conn) {
	t.Helper()
	const size = 4 * maxHandshake
	echoed := make(chan error, 1)
	go func() {
		_, err := io.CopyN(far, far, size)
		echoed <- err
	}()
	sent := make(chan error, 1)
	go func() {
		_, err := near.Write(make([]byte, size))
		sent <- err
	}()
	if n, err := io.CopyN(io.Discard, near, size); err != nil {
		t.Errorf("%d bytes came back: %v", n, err)
	}
	if err := errors.Join(<-sent, <-echoed); err != nil {
		t.Error(err)
	}
}

func TestHandshake(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			s := newScene(t, "workers=4")
			near, far := connection(t, transport)
			link, server, err := s.connect(t, near, far)
			if err != nil || server.err != nil {
				t.Fatalf("client: %v; server: %v", err, server.err)
			}
			peer := server.peer
			if peer.Key != s.caller.Public() || peer.Grant.Workers != 4 || peer.Address != far.RemoteAddr() {
				t.Errorf("the peer is %+v", peer)
			}
			checkEcho(t, link, server.link)
			state := link.(*tls.Conn).ConnectionState()
			if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != protocol || state.DidResume {
				t.Errorf("%+v", state)
			}
		})
	}
}

func TestHandshakePinned(t *testing.T) {
	s := newScene(t, "")
	s.client.Address, s.client.Known = "", nil
	s.client.Pinned = s.node.Public()
	near, far := connection(t, "tcp")
	if _, server, err := s.connect(t, near, far); err != nil || server.err != nil {
		t.Errorf("client: %v; server: %v", err, server.err)
	}
	s.client.Pinned = newTestKey(t, "").Public()
	near, far = connection(t, "tcp")
	_, server, err := s.connect(t, near, far)
	if !errors.Is(err, ErrNodeChanged) || server.err == nil {
		t.Errorf("client: %v; server: %v", err, server.err)
	}
}

// A node that is not the right one must not even learn who calls.
func TestClientRefusesNode(t *testing.T) {
	for _, transport := range transports {
		for name, c := range map[string]struct {
			known string
			want  error
		}{
			"unknown": {"", ErrUnknownNode},
			"changed": {"node:7227 " + newTestKey(t, "old").String() + "\n", ErrNodeChanged},
			"damaged": {"node:7227 nonsense\n", nil},
		} {
			s := newScene(t, "")
			s.client.Known.Path = writeFile(t, "known_nodes", c.known)
			near, far := connection(t, transport)
			_, server, err := s.connect(t, near, far)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), "node:7227") {
				t.Errorf("%s, %s: client: %v, want %v", transport, name, err, c.want)
			}
			if server.err == nil || strings.Contains(server.err.Error(), s.caller.Public().Fingerprint()) {
				t.Errorf("%s, %s: server: %v", transport, name, server.err)
			}
			if readFile(t, s.client.Known.Path) != c.known {
				t.Errorf("%s, %s: known_nodes has changed", transport, name)
			}
		}
	}
}

func TestClientTrustsFirst(t *testing.T) {
	s := newScene(t, "")
	s.client.Known.Path = writeFile(t, "known_nodes", "")
	s.client.TrustFirst = true
	for range 2 {
		near, far := connection(t, "tcp")
		if _, server, err := s.connect(t, near, far); err != nil || server.err != nil {
			t.Fatalf("client: %v; server: %v", err, server.err)
		}
	}
	if got, want := readFile(t, s.client.Known.Path), "node:7227 "+s.node.Public().String()+"\n"; got != want {
		t.Errorf("known_nodes is %q, want %q", got, want)
	}
	s.server.Key = newTestKey(t, "another")
	near, far := connection(t, "tcp")
	if _, _, err := s.connect(t, near, far); !errors.Is(err, ErrNodeChanged) {
		t.Errorf("another key later: %v", err)
	}
}

// A key is written down only if the node has proven it. This one shows the
// certificate of another, which everyone has seen who ever called it.
func TestClientTrustsFirstOnlyWhatIsProven(t *testing.T) {
	s := newScene(t, "")
	s.client.Known.Path = writeFile(t, "known_nodes", "")
	s.client.TrustFirst = true
	liar := common(newTestKey(t, "liar"))
	liar.Certificates[0].Certificate = s.node.certificate.Certificate
	near, far := connection(t, "tcp")
	done := make(chan error, 1)
	go func() { done <- tls.Server(far, liar).Handshake(); far.Close() }()
	if _, err := Client(t.Context(), near, s.client); err == nil {
		t.Error("a key without proof is trusted")
	}
	<-done
	if text := readFile(t, s.client.Known.Path); text != "" {
		t.Errorf("known_nodes is %q", text)
	}
}

// The caller learns that its key is not authorised; the node's log, why.
func TestServerRefusesCaller(t *testing.T) {
	for _, transport := range transports {
		for name, c := range map[string]struct {
			authorized func(key string) string
			want       error
			also       string
		}{
			"unknown": {func(string) string { return "" }, ErrUnknownKey, "not in"},
			"revoked": {func(key string) string { return "revoked " + key }, ErrRevoked, ":1"},
			"expired": {func(key string) string { return "expires=2020-01-01 " + key }, ErrExpired, "2020-01-02"},
			"from":    {func(key string) string { return "from=10.9.9.9 " + key }, ErrWrongAddress, "10.9.9.9"},
			"damaged": {func(key string) string { return "nonsense=1 " + key }, nil, "unknown option"},
		} {
			s := newScene(t, "")
			s.server.Authorized.Path = writeFile(t, "authorized_keys", c.authorized(s.caller.String()))
			near, far := connection(t, transport)
			link, server, err := s.connect(t, near, far)
			const refusal = "refused by the node: key "
			want := "trust: node node:7227: " + refusal + s.caller.Public().Fingerprint() + " is not authorised"
			if link != nil || !errors.Is(err, ErrRefused) || err.Error() != want {
				t.Errorf("%s, %s: client: %v", transport, name, err)
			}
			if server.peer != nil || server.link != nil || server.err == nil || c.want != nil && !errors.Is(server.err, c.want) {
				t.Errorf("%s, %s: server: %v, want %v", transport, name, server.err, c.want)
			}
			for _, text := range []string{c.also, s.caller.Public().Fingerprint(), "trust: caller "} {
				if !strings.Contains(server.err.Error(), text) {
					t.Errorf("%s, %s: server: %v does not say %s", transport, name, server.err, text)
				}
			}
		}
	}
}

func TestServerChecksAddress(t *testing.T) {
	s := newScene(t, `from="127.0.0.0/8,::1"`)
	near, far := connection(t, "tcp")
	if _, server, err := s.connect(t, near, far); err != nil || server.err != nil {
		t.Errorf("client: %v; server: %v", err, server.err)
	}
	near, far = connection(t, "unix")
	if _, server, _ := s.connect(t, near, far); !errors.Is(server.err, ErrWrongAddress) {
		t.Errorf("server: %v", server.err)
	}
}

// A key that is revoked is refused at once. What is running goes on.
func TestRevocationWhileConnected(t *testing.T) {
	for name, revoke := range map[string]func(*AuthorizedKeys, PublicKey) error{
		"Revoke": (*AuthorizedKeys).Revoke, "Remove": (*AuthorizedKeys).Remove,
	} {
		s := newScene(t, "")
		near, far := connection(t, "tcp")
		link, server, err := s.connect(t, near, far)
		if err != nil {
			t.Fatal(err)
		}
		// The change is made by another process than the one that answers.
		if err := revoke(&AuthorizedKeys{Path: s.server.Authorized.Path}, s.caller.Public()); err != nil {
			t.Fatal(err)
		}
		near, far = connection(t, "tcp")
		if _, again, err := s.connect(t, near, far); !errors.Is(err, ErrRefused) || again.err == nil {
			t.Errorf("%s: client: %v; server: %v", name, err, again.err)
		}
		checkEcho(t, link, server.link)
	}
}

// An incomplete configuration is an error, never an open door.
func TestIncompleteConfigurations(t *testing.T) {
	s := newScene(t, "")
	for name, config := range map[string]*ServerConfig{
		"nothing": {}, "no key": {Authorized: s.server.Authorized}, "no file": {Key: s.node},
		"no path": {Key: s.node, Authorized: &AuthorizedKeys{}},
	} {
		near, far := connection(t, "tcp")
		s.server = config
		if _, server, err := s.connect(t, near, far); err == nil || server.err == nil {
			t.Errorf("server with %s: client: %v; server: %v", name, err, server.err)
		}
	}
	for name, config := range map[string]*ClientConfig{
		"nothing": {}, "no key": {Pinned: s.node.Public()}, "no nodes": {Key: s.caller, Address: "node:7227"},
		"no address": {Key: s.caller, Known: s.client.Known},
	} {
		s, fresh := newScene(t, ""), s
		s.server.Key = fresh.node
		s.client = config
		near, far := connection(t, "tcp")
		if _, server, err := s.connect(t, near, far); err == nil || server.err == nil {
			t.Errorf("client with %s: client: %v; server: %v", name, err, server.err)
		}
	}
}

// A recorder remembers what was written to a connection.
type recorder struct {
	net.Conn
	written []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.written = append(r.written, p...)
	return r.Conn.Write(p)
}

// The caller waits for the verdict, however long it takes within the time given.
func TestClientWaitsForVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		say  string
		end  bool
		want string
	}{
		"silence":   {"", false, "not done within 10s"},
		"half":      {"welc", false, "not done within 10s"},
		"end":       {"", true, "without a verdict"},
		"half, end": {"welc", true, "without a verdict"},
		"nonsense":  {"220 smtp.example.com ESMTP\n", false, `"220 smtp.example.com ESMTP" is no verdict`},
		"endless":   {strings.Repeat("x", 2*maxVerdict), false, "more than 256 bytes"},
		"escapes":   {"refused: \x1b[2Jyou\n", false, "refused by the node: \ufffd[2Jyou"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, "")
				near, far := connection(t, "pipe")
				settings := common(s.node)
				settings.ClientAuth = tls.RequireAnyClientCert
				settings.SessionTicketsDisabled = true
				done := make(chan struct{})
				go func() {
					defer close(done)
					link := tls.Server(far, settings)
					_, _ = io.WriteString(link, c.say)
					if c.end {
						link.Close()
					}
					_, _ = io.Copy(io.Discard, far)
				}()
				_, err := Client(t.Context(), near, s.client)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				<-done
			})
		})
	}
}

// What follows the verdict belongs to the next protocol, to the last byte.
func TestClientLeavesWhatFollows(t *testing.T) {
	s := newScene(t, "")
	near, far := connection(t, "tcp")
	settings := common(s.node)
	settings.ClientAuth = tls.RequireAnyClientCert
	done := make(chan error, 1)
	go func() {
		_, err := io.WriteString(tls.Server(far, settings), welcome+"\nnext")
		done <- err
	}()
	link, err := Client(t.Context(), near, s.client)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	next := make([]byte, 4)
	if _, err := io.ReadFull(link, next); err != nil || string(next) != "next" {
		t.Errorf("%q, %v", next, err)
	}
}

func TestClientIsCutOff(t *testing.T) {
	s := newScene(t, "")
	near, far := connection(t, "pipe")
	go func() {
		_, _ = far.Read(make([]byte, maxHandshake))
		far.Close()
	}()
	if _, err := Client(t.Context(), near, s.client); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "too many failures") {
		t.Error(err)
	}
}

func BenchmarkHandshake(b *testing.B) {
	s := newScene(b, "")
	for b.Loop() {
		near, far := net.Pipe()
		done := s.serve(b.Context(), far)
		_, err := Client(b.Context(), near, s.client)
		if err := errors.Join(err, (<-done).err); err != nil {
			b.Fatal(err)
		}
		near.Close()
		far.Close()
	}
}

func TestContextEndsHandshake(t *testing.T) {
	reason := errors.New("no longer wanted")
	for _, transport := range transports {
		s := newScene(t, "")
		ctx, cancel := context.WithCancelCause(t.Context())
		near, far := connection(t, transport)
		done := s.serve(ctx, far)
		cancel(reason)
		if v := <-done; !errors.Is(v.err, reason) {
			t.Errorf("%s: server: %v", transport, v.err)
		}
		if _, err := Client(ctx, near, s.client); !errors.Is(err, reason) {
			t.Errorf("%s: client: %v", transport, err)
		}
	}
}

// ctx and Timeout are for the handshake only.
func TestContextHasNoEffectAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "")
		near, far := connection(t, "pipe")
		ctx, cancel := context.WithCancel(t.Context())
		done := s.serve(ctx, far)
		link, err := Client(ctx, near, s.client)
		server := <-done
		if err := errors.Join(err, server.err); err != nil {
			t.Fatal(err)
		}
		cancel()
		time.Sleep(time.Hour)
		checkEcho(t, link, server.link)
	})
}
