// Command distant measures calls over a node's links: what TLS costs. It is a program of its own because a node's
// workers are static programs, which this module's main program need not be.
//
// "distant node DIR" is a node. It writes three targets on a line: over TCP with TLS, over a unix socket, and over plain
// TCP, which no real node listens at: there the agent's protocol is served without asking who comes. "distant calls N SPAN
// TARGET" opens a target and, for each line that it reads, has N goroutines call one worker there for SPAN, and writes the
// calls per second; TARGET plain+tcp://… is the plain one. Both end when their input does. Keys are those that the
// environment names.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/wire"
	"github.com/afar-go/afar/node"
	"github.com/afar-go/afar/trust"
)

var echo = afar.Func(echoText)

func echoText(_ context.Context, s string) (string, error) { return s, nil }

// size is that of the strings that are echoed, as in the rows of local calls.
const size = 64

func main() {
	afar.Main()
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "distant:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "node":
		return serve(args[1])
	case len(args) == 4 && args[0] == "calls":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		span, err := time.ParseDuration(args[2])
		if err != nil {
			return err
		}
		return calls(n, span, args[3])
	}
	return errors.New("usage: distant node DIR | calls N SPAN TARGET")
}

// serve is the node.
func serve(dir string) error {
	key, err := keys(dir)
	if err != nil {
		return err
	}
	n, err := node.Open(node.Config{Key: key, Authorized: filepath.Join(dir, "authorized_keys"), Dir: filepath.Join(dir, "node"),
		Log: slog.New(slog.DiscardHandler), NoControlGroups: true})
	if err != nil {
		return err
	}
	defer n.Close()
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	socket, err := node.ListenUnix(filepath.Join(dir, "socket"))
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := (&trust.KnownNodes{Path: os.Getenv(trust.KnownNodesVariable)}).Add(secure.Addr().String(), key.Public()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 2)
	go func() { served <- n.Serve(ctx, secure, socket) }()
	go func() { served <- servePlain(filepath.Join(dir, "plain"), plain) }()
	fmt.Printf("tcp://%s?workers=1 unix:%s?workers=1 plain+tcp://%s?workers=1\n", secure.Addr(), socket.Addr(), plain.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	cancel()
	_ = plain.Close()
	return errors.Join(err, <-served, <-served)
}

// keys makes the node's key and the caller's, each of which knows the other.
func keys(dir string) (*trust.Key, error) {
	caller, err := trust.NewKey("caller")
	if err == nil {
		err = caller.Save(os.Getenv(trust.KeyVariable))
	}
	if err != nil {
		return nil, err
	}
	authorized := &trust.AuthorizedKeys{Path: filepath.Join(dir, "authorized_keys")}
	if err := authorized.Append(trust.Grant{Key: caller.Public()}); err != nil {
		return nil, err
	}
	return trust.NewKey("node")
}

// servePlain is the node without its trust, as far as links go.
func servePlain(dir string, l net.Listener) error {
	images, err := agent.OpenImages(dir, 0, 0)
	if err != nil {
		return err
	}
	start := func(l *wire.Launch, output func([]byte)) (*launch.Worker, error) {
		path, ok := images.Path(l.Image)
		if !ok {
			return nil, errors.New("no such image")
		}
		return launch.Local(launch.Spec{ID: l.ID, Dir: l.Dir, Env: l.Env, Path: path, Image: l.Image, Output: output})
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		serving.Go(func() {
			if err := agent.Serve(trust.NewLink(conn), wire.Hello{}, &agent.Server{Start: start, Keep: images}); err != nil {
				fmt.Fprintln(os.Stderr, "distant: plain:", err)
			}
		})
	}
}

// calls measures.
func calls(n int, span time.Duration, target string) error {
	if rest, plain := strings.CutPrefix(target, "plain+"); plain {
		tcp, err := launch.TCP()
		if err != nil {
			return err
		}
		launch.RegisterTCP(launch.Network{Dial: tcp.Dial,
			Secure: func(_ context.Context, link launch.Link, _ string) (launch.Link, error) { return link, nil }})
		target = rest
	}
	ctx := context.Background()
	pool, err := afar.Open(ctx, target)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := rate(ctx, pool, n, 0); err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		r, err := rate(ctx, pool, n, span)
		if err != nil {
			return err
		}
		fmt.Println(r)
	}
	return pool.Close()
}

// rate lets n goroutines call in a loop.
func rate(ctx context.Context, pool *afar.Pool, n int, span time.Duration) (float64, error) {
	call := echo.On(pool)
	var over atomic.Bool
	var made atomic.Int64
	errs := make([]error, n)
	begin := time.Now()
	timer := time.AfterFunc(span, func() { over.Store(true) })
	defer timer.Stop()
	var callers sync.WaitGroup
	for i := range n {
		text := fmt.Sprintf("%0*d", size, i)
		callers.Go(func() {
			for errs[i] == nil && !over.Load() {
				reply, err := call(ctx, text)
				if err == nil && reply != text {
					err = errors.New("a reply differs from what was sent")
				}
				errs[i] = err
				made.Add(1)
			}
		})
	}
	callers.Wait()
	return float64(made.Load()) / time.Since(begin).Seconds(), errors.Join(errs...)
}
