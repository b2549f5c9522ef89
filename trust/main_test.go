package trust

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("TRUST_TEST_APPEND"); path != "" {
		os.Exit(appendMany(path))
	}
	goleak.VerifyTestMain(m)
}

// newTestKey makes a key that a test can do without checking an error.
func newTestKey(t testing.TB, comment string) *Key {
	t.Helper()
	key, err := NewKey(comment)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// writeFile writes a file into a directory of the test's own, and returns its path.
func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readFile returns what is in a file.
func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A scene is a node and a caller who know each other.
type scene struct {
	node, caller *Key
	server       *ServerConfig
	client       *ClientConfig
}

// newScene makes one. Options are those of the caller's line.
func newScene(t testing.TB, options string) *scene {
	t.Helper()
	s := &scene{node: newTestKey(t, "node"), caller: newTestKey(t, "caller")}
	line := s.caller.String()
	if options != "" {
		line = options + " " + line
	}
	s.server = &ServerConfig{Key: s.node, Authorized: &AuthorizedKeys{Path: writeFile(t, "authorized_keys", line+"\n")}}
	s.client = &ClientConfig{Key: s.caller, Address: "node:7227",
		Known: &KnownNodes{Path: writeFile(t, "known_nodes", "node:7227 "+s.node.String()+"\n")}}
	return s
}

// A verdictOf is what Server returned.
type verdictOf struct {
	link net.Conn
	peer *Peer
	err  error
}

// serve runs Server on a connection, and gives what it returns.
func (s *scene) serve(ctx context.Context, conn net.Conn) <-chan verdictOf {
	done := make(chan verdictOf, 1)
	go func() {
		link, peer, err := Server(ctx, conn, s.server)
		v := verdictOf{peer: peer, err: err}
		if link != nil {
			v.link = link
		}
		done <- v
	}()
	return done
}

// connect does a handshake of both sides over the two ends of a connection,
// which connection closes.
func (s *scene) connect(t testing.TB, near, far net.Conn) (link net.Conn, server verdictOf, err error) {
	t.Helper()
	done := s.serve(t.Context(), far)
	l, err := Client(t.Context(), near, s.client)
	server = <-done
	if l != nil {
		link = l
	}
	return link, server, err
}

// transports are the kinds of connection that every handshake must work on.
var transports = []string{"pipe", "tcp", "unix"}

// connection returns the two ends of a connection.
func connection(t testing.TB, transport string) (near, far net.Conn) {
	t.Helper()
	if transport == "pipe" {
		near, far = net.Pipe()
	} else {
		near, far = dialListener(t, transport)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func dialListener(t testing.TB, network string) (near, far net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "node")
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near, err = net.Dial(network, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

// appendMany is what one of several processes does to one file.
func appendMany(path string) int {
	keys := AuthorizedKeys{Path: path}
	for range appendsEach {
		key, err := NewKey(fmt.Sprintf("process %d", os.Getpid()))
		if err == nil {
			err = keys.Append(Grant{Key: key.Public(), Comment: key.Comment(), Workers: 1})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return 0
}
