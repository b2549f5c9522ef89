package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar/queue/natsq"
	"github.com/afar-go/afar/trust"
)

// passwordVariable has the password of those who join a broker.
const passwordVariable = "AFAR_BROKER_PASSWORD"

func brokerCommand() *cli.Command {
	return &cli.Command{
		Name:  "broker",
		Usage: "keep queues for programs on this host and on others",
		Description: `The broker is a NATS server with JetStream, and one file system directory. It prints
the URL that others join with, to which they add their name and password.

   afar broker --dir /var/lib/afar/broker
   AFAR_BROKER_PASSWORD=… afar broker --dir /var/lib/afar/broker --listen :4222 --user fleet \
      --tls-cert broker.pem --tls-key broker.key
   afar queue ls 'tls://fleet:…@host:4222?ca=authority.pem'

With --keys callers are let in by their keys, as by a node: those of authorized_keys, and
the URL names the broker's own key, so that nobody else can be taken for it. What a key
may do with queues is for those who work for them to say.

   afar broker --dir /var/lib/afar/broker --listen :4222 --keys

On another address than this host's own it needs to know who comes, by --keys, --user or
the certificates of --tls-ca, and keeps what is said secret; unless it is --insecure.

A task is on its way to the disk when it is accepted, and there within a second: a crash
of the broker loses nothing, one of the host that second. With --sync-always that loses
nothing either, and many at a time share the time it takes.

SIGTERM or SIGINT stops it; tasks stay, and those who have joined wait for its return.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Usage: "directory for the queues, its own; required"},
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:4222", Usage: "host:port to listen at; port 0: any"},
			&cli.BoolFlag{Name: "sync-always", Usage: "lose nothing even when the power fails"},
			&cli.BoolFlag{Name: "keys", Usage: "let in callers by their keys, see afar key authorize"},
			&cli.StringFlag{Name: "key", Usage: "file of the broker's key, for --keys; none: ~/.config/afar/key", Sources: cli.EnvVars(trust.KeyVariable)},
			authorizedFlag(),
			&cli.StringFlag{Name: "user", Usage: "name of those who may join; their password is in the environment, " + passwordVariable + ", or in --password-file"},
			&cli.StringFlag{Name: "password-file", Usage: "file with their password"},
			&cli.StringFlag{Name: "tls-cert", Usage: "PEM file with the broker's certificate"},
			&cli.StringFlag{Name: "tls-key", Usage: "PEM file with the key of that"},
			&cli.StringFlag{Name: "tls-ca", Usage: "PEM file with the authorities of those who may join: they need certificates"},
			&cli.BoolFlag{Name: "insecure", Usage: "let in, on any address and without TLS, whoever comes"},
			&cli.BoolFlag{Name: "verbose", Usage: "log what the NATS server has to say, too, not its warnings only"},
			&cli.BoolFlag{Name: "json", Usage: "log as JSON"},
		},
		Action: serveBroker,
	}
}

// serveBroker is afar broker.
func serveBroker(ctx context.Context, c *cli.Command) error {
	if err := none(c); err != nil {
		return err
	}
	config, err := brokerConfig(c)
	if err != nil {
		return err
	}
	var key *trust.Key
	if c.Bool("keys") {
		if key, err = brokerKeys(c, &config); err != nil {
			return err
		}
	}
	log := slog.New(logHandler(c.Root().ErrWriter, c.Bool("json")))
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	b, err := config.Embedded(ctx)
	if err != nil {
		return err
	}
	joined := joinURL(b.URL(), config.TLS != nil)
	if key != nil {
		joined += "?pin=" + pinOf(key.Public())
	}
	log.Info("listening", "url", joined, "dir", config.Dir, "sync_always", config.SyncAlways)
	if _, err := fmt.Fprintln(c.Root().Writer, joined); err != nil {
		return errors.Join(err, b.Close())
	}
	closed := make(chan error, 1)
	for draining := false; ; {
		select {
		case s := <-signals:
			log.Info("signal", "name", s.String())
			if draining {
				return &interrupted{s}
			}
			draining = true
			log.Info("draining")
			go func() { closed <- b.Close() }()
		case err := <-closed:
			log.Info("closed")
			return err
		}
	}
}

// brokerConfig is what the flags say.
func brokerConfig(c *cli.Command) (config natsq.Config, err error) {
	config = natsq.Config{Dir: c.String("dir"), Listen: c.String("listen"), SyncAlways: c.Bool("sync-always"), User: c.String("user"),
		Log: serverLog(c)}
	if config.Dir == "" {
		return config, usage("--dir is needed: where the queues are to be")
	}
	host, _, err := net.SplitHostPort(config.Listen)
	if err != nil {
		return config, usage("--listen: %w", err)
	}
	if config.Password, err = brokerPassword(c); err != nil {
		return config, err
	}
	if config.TLS, err = brokerTLS(c); err != nil {
		return config, err
	}
	if !own(host) && !c.Bool("insecure") && !c.Bool("keys") {
		switch {
		case config.TLS == nil:
			return config, usage("--listen %s is open to other hosts: it needs --keys, or --tls-cert and --tls-key, or --insecure", config.Listen)
		case config.User == "" && config.TLS.ClientCAs == nil:
			return config, usage("--listen %s is open to other hosts: it needs --user or --tls-ca, or --insecure", config.Listen)
		}
	}
	return config, nil
}

// serverLog gets what the server has to say, which is much.
func serverLog(c *cli.Command) slog.Handler {
	options := &slog.HandlerOptions{Level: slog.LevelWarn}
	if c.Bool("verbose") {
		options.Level = slog.LevelInfo
	}
	if c.Bool("json") {
		return slog.NewJSONHandler(c.Root().ErrWriter, options)
	}
	return slog.NewTextHandler(c.Root().ErrWriter, options)
}

// natsProtocol is what callers and brokers say that they speak over TLS with keys.
const natsProtocol = "afar-nats/1"

// brokerKeys has a broker let in callers by their keys, and returns its own.
func brokerKeys(c *cli.Command, config *natsq.Config) (*trust.Key, error) {
	files, err := filesOf(c)
	if err != nil {
		return nil, err
	}
	key, err := trust.LoadKey(files.Key)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("the broker has no key: run: afar key new --key %s", files.Key)
	}
	if err != nil {
		return nil, err
	}
	authorized := &trust.AuthorizedKeys{Path: files.AuthorizedKeys}
	config.TLS, err = (&trust.ServerConfig{Key: key, Authorized: authorized}).TLS(natsProtocol)
	return key, err
}

// pinOf is a key as a parameter of a URL.
func pinOf(key trust.PublicKey) string {
	_, text, _ := strings.Cut(key.String(), " ")
	return url.QueryEscape(text)
}

// own tells whether only this host reaches an address.
func own(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// brokerPassword is that of those who join.
func brokerPassword(c *cli.Command) (string, error) {
	password, file := os.Getenv(passwordVariable), c.String("password-file")
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("--password-file: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	switch {
	case c.String("user") == "" && file != "":
		return "", usage("--password-file needs --user")
	case c.String("user") == "":
		return "", nil // it may be there for others
	case password == "":
		return "", usage("--user needs a password, in %s or --password-file", passwordVariable)
	}
	return password, nil
}

// brokerTLS is nil without certificates.
func brokerTLS(c *cli.Command) (*tls.Config, error) {
	cert, key, ca := c.String("tls-cert"), c.String("tls-key"), c.String("tls-ca")
	if c.Bool("keys") && cert+key+ca != "" {
		return nil, usage("--keys needs no certificates")
	}
	if (cert == "") != (key == "") || ca != "" && cert == "" {
		return nil, usage("--tls-cert and --tls-key need each other, and --tls-ca needs both")
	}
	if cert == "" {
		return nil, nil
	}
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}}
	if config.ClientCAs, err = authorities(ca); err != nil {
		return nil, fmt.Errorf("--tls-ca: %w", err)
	}
	if config.ClientCAs != nil {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

// joinURL is the broker's URL as other hosts use it: with a name in place of an address that
// means all.
func joinURL(text string, secret bool) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	if secret {
		u.Scheme = "tls"
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
		host, _ := os.Hostname()
		u.Host = net.JoinHostPort(cmp.Or(host, "localhost"), u.Port())
	}
	u.User = nil
	return u.String()
}
