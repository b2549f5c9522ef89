package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar/node"
	"github.com/afar-go/afar/trust"
)

// defaultListen is where callers look for nodes.
const defaultListen = ":7227"

func nodeCommand() *cli.Command {
	return &cli.Command{
		Name:  "node",
		Usage: "start workers on this host for callers that it knows",
		Description: `The node lets in callers whose keys are in authorized_keys (see afar key
authorize), keeps the programs that they bring, and starts workers of them.

SIGTERM or SIGINT drains it: nothing new is started, and what runs may end by itself
within --drain. The second one ends everything at once.

   afar node
   afar node --listen 10.0.0.7:7227 --listen '[::1]:7227' --dir /var/lib/afar
   afar node --unix /run/afar.sock
   afar node --queue 'redis://host:6379/12#thumbs' --queue 'nats://host:4222#calculator'

With --queue it runs the tasks of queues, too, which callers that it knows have signed.
Passwords are better in the environment: AFAR_NODE_QUEUES has queues with spaces between.`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "listen", Usage: "host:port to listen at, any number of times; none: " + defaultListen + ", unless there is --unix"},
			&cli.StringFlag{Name: "unix", Usage: "path of a socket, for root and the node's user"},
			&cli.StringFlag{Name: "key", Usage: "file of the node's key; none: ~/.config/afar/key", Sources: cli.EnvVars(trust.KeyVariable)},
			authorizedFlag(),
			&cli.StringFlag{Name: "dir", Usage: "directory for images and callers; none: afar/node in the user's cache directory"},
			&cli.StringSliceFlag{Name: "queue", Usage: "URL#name of a queue to work for, any number of times"},
			&cli.IntFlag{Name: "queue-workers", Usage: "tasks of a queue at a time; 0: as many as there are processors"},
			&cli.IntFlag{Name: "workers", Usage: "workers of all callers at a time; 0: no limit"},
			&cli.Int64Flag{Name: "images", Usage: "bytes of images that are kept; 0: 8 GiB"},
			&cli.Int64Flag{Name: "max-image", Usage: "bytes of the largest image; 0: 1 GiB"},
			&cli.DurationFlag{Name: "drain", Value: 30 * time.Second, Usage: "how long what runs may go on after SIGTERM; negative: until it ends"},
			&cli.BoolFlag{Name: "absolute-dirs", Usage: "callers may choose any working directory, not only below their own"},
			&cli.BoolFlag{Name: "no-cgroups", Usage: "leave control groups alone"},
			&cli.BoolFlag{Name: "json", Usage: "log as JSON"},
		},
		DisableSliceFlagSeparator: true, // URLs have commas
		Action:                    serveNode,
	}
}

func authorizedFlag() cli.Flag {
	return &cli.StringFlag{Name: "authorized", Usage: "file of the callers that are let in; none: ~/.config/afar/authorized_keys",
		Sources: cli.EnvVars("AFAR_AUTHORIZED_KEYS")}
}

// serveNode is afar node.
func serveNode(ctx context.Context, c *cli.Command) error {
	if err := none(c); err != nil {
		return err
	}
	if err := checkNode(c); err != nil {
		return err
	}
	config, err := nodeConfig(c)
	if err != nil {
		return err
	}
	// Before anything listens, so that a signal at once is not missed.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	closeQueues, err := openQueues(ctx, c, &config)
	defer closeQueues()
	if err != nil {
		return err
	}
	n, err := node.Open(config)
	if err != nil {
		return err
	}
	defer n.Close()
	listeners, err := listen(c)
	if err != nil {
		return err
	}
	if overTCP(c) {
		warn(config)
	}
	ctx, drain := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- n.Serve(ctx, listeners...) }()
	for drained := false; ; drained = true {
		select {
		case err := <-served:
			drain()
			return errors.Join(err, n.Close())
		case s := <-signals:
			config.Log.Info("signal", "name", s.String())
			drain()
			if drained {
				return n.Close()
			}
		}
	}
}

// checkNode finds mistakes in the flags.
func checkNode(c *cli.Command) error {
	for _, limit := range []struct {
		flag string
		n    int64
	}{{"workers", int64(c.Int("workers"))}, {"images", c.Int64("images")}, {"max-image", c.Int64("max-image")}} {
		if limit.n < 0 {
			return usage("--%s is at least 0, not %d", limit.flag, limit.n)
		}
	}
	for _, address := range c.StringSlice("listen") {
		_, port, err := net.SplitHostPort(address)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil || port == "" {
			return usage("--listen %q: it is host:port, or :port for all addresses, as in %s", address, defaultListen)
		}
	}
	if c.IsSet("unix") && c.String("unix") == "" {
		return usage("--unix needs the path of a socket")
	}
	return nil
}

// nodeConfig is what the flags say.
func nodeConfig(c *cli.Command) (node.Config, error) {
	config := node.Config{
		Dir: c.String("dir"), Log: slog.New(logHandler(c.Root().ErrWriter, c.Bool("json"))), Program: "afar " + version(),
		MaxWorkers: c.Int("workers"), MaxImage: c.Int64("max-image"), MaxImages: c.Int64("images"),
		DrainTimeout: c.Duration("drain"), AbsoluteDirs: c.Bool("absolute-dirs"), NoControlGroups: c.Bool("no-cgroups"),
	}
	if config.DrainTimeout == 0 {
		config.DrainTimeout = time.Nanosecond // 0 stands for the default there
	}
	if config.Dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return config, usage("--dir is needed: %w", err)
		}
		config.Dir = filepath.Join(cache, "afar", "node")
	}
	config.QueueWorkers = c.Int("queue-workers")
	if config.QueueWorkers < 0 {
		return config, usage("--queue-workers is negative: %d", config.QueueWorkers)
	}
	if !overTCP(c) && len(nodeQueues(c)) == 0 {
		return config, nil
	}
	files, err := filesOf(c)
	if err != nil {
		return config, err
	}
	config.Authorized = files.AuthorizedKeys
	if !overTCP(c) {
		return config, nil
	}
	config.Key, err = trust.LoadKey(files.Key)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("the node has no key: run: afar key new --key %s", files.Key)
	}
	return config, err
}

// warn says when a node lets nobody in, so that its owner does not hear of it from
// callers first. It is read again for each of them: that may change at any time.
func warn(config node.Config) {
	grants, err := (&trust.AuthorizedKeys{Path: config.Authorized}).List()
	may := func(g trust.Grant) bool { return !g.Revoked && (g.Expires.IsZero() || time.Now().Before(g.Expires)) }
	switch {
	case err != nil:
		config.Log.Warn("nobody is let in", "reason", err)
	case !slices.ContainsFunc(grants, may):
		config.Log.Warn("nobody is let in yet", "reason", "there is no caller's key in "+config.Authorized+": see afar key authorize")
	}
}

func overTCP(c *cli.Command) bool { return len(c.StringSlice("listen")) > 0 || c.String("unix") == "" }

func logHandler(w io.Writer, json bool) slog.Handler {
	if json {
		return slog.NewJSONHandler(w, nil)
	}
	return slog.NewTextHandler(w, nil)
}

// listen opens all listeners, or none.
func listen(c *cli.Command) (all []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				_ = l.Close()
			}
		}
	}()
	addresses := c.StringSlice("listen")
	if len(addresses) == 0 && overTCP(c) {
		addresses = []string{defaultListen}
	}
	for _, a := range addresses {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return all, err
		}
		all = append(all, l)
	}
	if path := c.String("unix"); path != "" {
		l, err := node.ListenUnix(path)
		if err != nil {
			return all, err
		}
		all = append(all, l)
	}
	return all, nil
}
