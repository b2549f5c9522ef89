package natsq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// syncEvery is how often an embedded server writes to the disk itself.
	syncEvery = time.Second
	// startPatience is how long an embedded server may take to start.
	startPatience = time.Minute
)

// Embedded runs a server inside this process. Its directory is made if it is not there; one
// that another process, or another Broker, uses is refused, and so is one
// whose files are damaged. Signals are left alone, and nothing is written to the standard
// streams.
func (c Config) Embedded(ctx context.Context) (*Broker, error) {
	if c.Dir == "" {
		return nil, errors.New("natsq: an embedded server needs a directory")
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Replicas > 1 {
		return nil, fmt.Errorf("natsq: an embedded server is alone, and cannot keep %d replicas", c.Replicas)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("natsq: %w", err)
	}
	lock, err := lockFile(filepath.Join(c.Dir, "afar.lock"))
	if err != nil {
		return nil, fmt.Errorf("natsq: %s: %w", c.Dir, err)
	}
	b := newBroker(c)
	b.embedded, b.deleteAfter, b.lock = true, ownSync, lock
	b.tuned()
	b.marks.read(c.Dir)
	if err := b.start(ctx); err != nil {
		_ = b.Close()
		return nil, fmt.Errorf("natsq: %s: %w", c.Dir, err)
	}
	return b, nil
}

// start starts the server and connects to it.
func (b *Broker) start(ctx context.Context) error {
	options, err := b.config.options()
	if err != nil {
		return err
	}
	before := streamDirs(b.config.Dir)
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	said := &voice{log: b.log}
	s.SetLoggerV2(said, false, false, false)
	b.server = s
	s.Start()
	if !s.ReadyForConnections(startPatience) {
		return fmt.Errorf("the server did not start: %s", said.last())
	}
	if !s.JetStreamEnabled() {
		return fmt.Errorf("%w: %s", errDamaged, said.last())
	}
	user := nats.UserInfo(b.config.User, b.config.Password)
	if err := b.connect(ctx, "", nats.InProcessServer(s), user); err != nil {
		return err
	}
	for _, name := range before {
		if _, err := b.js.Stream(ctx, name); err != nil {
			return fmt.Errorf("%w: %s was not restored (%w): %s", errDamaged, name, err, said.last())
		}
	}
	return b.claimAll(ctx)
}

// options are those of the server.
func (c *Config) options() (*server.Options, error) {
	o := &server.Options{
		ServerName: "afar", StoreDir: c.Dir, JetStream: true, DontListen: true, NoSigs: true,
		SyncInterval: syncEvery, SyncAlways: c.SyncAlways, MaxPayload: 4 << 20, MaxPending: 256 << 20,
		Username: c.User, Password: c.Password,
	}
	if c.Listen == "" {
		return o, nil
	}
	host, text, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening at %q: %w", c.Listen, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("listening at %q: %q is not a port", c.Listen, text)
	}
	o.DontListen, o.Host, o.Port = false, host, int(port)
	if port == 0 {
		o.Port = server.RANDOM_PORT
	}
	if host == "" {
		o.Host = server.DEFAULT_HOST
	}
	if c.TLS != nil {
		o.TLSConfig, o.TLS, o.TLSTimeout = c.TLS, true, 5
		o.TLSVerify = c.TLS.ClientAuth != 0
	}
	return o, nil
}

// streamDirs are the names of the streams that have files. A server leaves out those that it
// cannot restore, and says so in its log only.
func streamDirs(dir string) (names []string) {
	files, _ := os.ReadDir(filepath.Join(dir, "jetstream", server.DEFAULT_GLOBAL_ACCOUNT, "streams"))
	for _, f := range files {
		if f.IsDir() {
			names = append(names, f.Name())
		}
	}
	return names
}

// URL is where others can join with Open, without a password; "" if the server does not
// listen. Of a Broker that Open has made it is where it is connected to.
func (b *Broker) URL() string {
	switch {
	case !b.embedded:
		return b.conn.ConnectedUrlRedacted()
	case b.config.Listen == "":
		return ""
	}
	return b.server.ClientURL()
}

// voice hands what the server says to a slog.Logger, and remembers the last trouble.
type voice struct {
	log     *slog.Logger
	mu      sync.Mutex
	trouble string
}

func (v *voice) say(level slog.Level, format string, args []any) {
	text := fmt.Sprintf(format, args...)
	if level >= slog.LevelWarn {
		v.mu.Lock()
		v.trouble = text
		v.mu.Unlock()
	}
	v.log.Log(context.Background(), level, text)
}

// last is the last trouble that the server had.
func (v *voice) last() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.trouble == "" {
		return "it does not say why"
	}
	return v.trouble
}

// The levels of a server's log.

func (v *voice) Noticef(format string, args ...any) { v.say(slog.LevelInfo, format, args) }
func (v *voice) Warnf(format string, args ...any)   { v.say(slog.LevelWarn, format, args) }
func (v *voice) Errorf(format string, args ...any)  { v.say(slog.LevelError, format, args) }
func (v *voice) Fatalf(format string, args ...any)  { v.say(slog.LevelError, format, args) }
func (v *voice) Debugf(format string, args ...any)  { v.say(slog.LevelDebug, format, args) }
func (v *voice) Tracef(format string, args ...any)  { v.say(slog.LevelDebug, format, args) }
