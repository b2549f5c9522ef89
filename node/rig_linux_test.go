package node_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/hosttest"
	"github.com/afar-go/afar/node"
	"github.com/afar-go/afar/trust"
	"go.uber.org/goleak"
)

// The test binary plays every part: it runs the tests and the nodes, it is the
// workers, and with roleVariable a caller that a test starts.
const (
	roleVariable  = "AFAR_TEST_ROLE"
	imageVariable = "AFAR_TEST_IMAGE"
)

// patience bounds every wait for an event that must come; tests that pass do not
// come near it.
const patience = 60 * time.Second

var roles = map[string]func() error{}

func TestMain(m *testing.M) {
	afar.Main()
	if role := roles[os.Getenv(roleVariable)]; role != nil {
		if err := role(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(cached{m})
}

// cached has the tests share what the callers' user has in the cache: the image as it
// travels, whose making takes its time.
type cached struct{ m *testing.M }

var cache string

func (c cached) Run() int {
	var err error
	if cache, err = os.MkdirTemp("", "afar-cache-"); err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(cache)
	return c.m.Run()
}

// images also works in a program that a test has started.
func images() map[string]string {
	return map[string]string{"linux/amd64": os.Getenv(imageVariable), "linux/arm64": os.Getenv(imageVariable)}
}

// site is a node in this process, and a caller that it lets in, whose files the
// environment names.
type site struct {
	t          testing.TB
	dir        string // of all files
	authorized *trust.AuthorizedKeys
	known      *trust.KnownNodes
	nodeKey    *trust.Key
	callerKey  *trust.Key
	log        *logBook

	node    *node.Node
	address string
	stop    context.CancelFunc
	served  chan error
}

// newSite starts one. options are those of the caller's line in authorized_keys.
func newSite(t testing.TB, options string, adjust ...func(*node.Config)) *site {
	t.Helper()
	image, err := hosttest.Image()
	must(t, err)
	s := &site{t: t, dir: t.TempDir(), log: newLogBook(t), served: make(chan error, 1)}
	s.nodeKey, err = trust.NewKey("node")
	must(t, err)
	s.callerKey = s.newKey("caller")
	s.authorized = &trust.AuthorizedKeys{Path: filepath.Join(s.dir, "authorized_keys")}
	s.known = &trust.KnownNodes{Path: filepath.Join(s.dir, "known_nodes")}
	grant, err := trust.ParseGrant(strings.TrimSpace(options + " " + s.callerKey.String()))
	must(t, err)
	must(t, s.authorized.Append(grant))
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv(imageVariable, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), image.Fd()))
	t.Setenv(trust.KeyVariable, filepath.Join(s.dir, "caller"))
	t.Setenv(trust.KnownNodesVariable, s.known.Path)

	config := node.Config{Key: s.nodeKey, Authorized: s.authorized.Path, Dir: filepath.Join(s.dir, "node"),
		Log: slog.New(s.log), Program: "test"}
	for _, a := range adjust {
		a(&config)
	}
	s.node, err = node.Open(config)
	must(t, err)
	t.Cleanup(func() { must(t, s.node.Close()) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s.address = l.Addr().String()
	must(t, s.known.Add(s.address, s.nodeKey.Public()))
	s.serve(l)
	return s
}

// newKey makes a key, and a file of its name.
func (s *site) newKey(name string) *trust.Key {
	s.t.Helper()
	key, err := trust.NewKey(name)
	must(s.t, err)
	must(s.t, key.Save(filepath.Join(s.dir, name)))
	return key
}

// serve has the node serve until stop is called.
func (s *site) serve(listeners ...net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.t.Cleanup(cancel)
	go func() { s.served <- s.node.Serve(ctx, listeners...) }()
}

func (s *site) target(parameters string) string { return "tcp://" + s.address + parameters }

// config is that of callers.
func config() afar.Config {
	return afar.Config{Stderr: io.Discard, Images: images(), Log: slog.DiscardHandler}
}

// open opens a pool that must be had.
func (s *site) open(parameters string) *afar.Pool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pool, err := config().Open(ctx, s.target(parameters))
	must(s.t, err)
	s.t.Cleanup(func() { _ = pool.Close() })
	return pool
}

// refused opens a pool that must not be had, and returns why.
func (s *site) refused(parameters string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pool, err := config().Open(ctx, s.target(parameters))
	if err == nil {
		_ = pool.Close()
		s.t.Fatal("the node let the caller have workers")
	}
	return err.Error()
}

// left lists what the node's callers have on the disk.
func (s *site) left() []string {
	entries, err := os.ReadDir(filepath.Join(s.dir, "node", "callers"))
	must(s.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

// within returns a context that a test does not outlive.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// logBook keeps what a node logs, and lets others wait for it.
type logBook struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and replaced with every line
	slog.Handler
}

func newLogBook(testing.TB) *logBook {
	b := &logBook{more: make(chan struct{})}
	b.Handler = slog.NewTextHandler((*logWriter)(b), nil)
	return b
}

// logWriter is what a logBook's handler writes to.
type logWriter logBook

func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, strings.TrimSpace(string(p)))
	close(w.more)
	w.more = make(chan struct{})
	return len(p), nil
}

// wait waits for the nth line that has all the words, from the beginning on, and
// returns it.
func (b *logBook) wait(t testing.TB, n int, words ...string) string {
	t.Helper()
	for over := time.After(patience); ; {
		b.mu.Lock()
		seen, more := 0, b.more
		for _, line := range b.lines {
			all := true
			for _, word := range words {
				all = all && strings.Contains(line, word)
			}
			if all {
				if seen++; seen == n {
					b.mu.Unlock()
					return line
				}
			}
		}
		b.mu.Unlock()
		select {
		case <-more:
		case <-over:
			b.mu.Lock()
			defer b.mu.Unlock()
			t.Fatalf("the node has not said %q %d times, but\n%s", words, n, strings.Join(b.lines, "\n"))
		}
	}
}

// all returns what was logged until now.
func (b *logBook) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.lines...)
}
