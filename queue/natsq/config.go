package natsq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config says how a Broker is made. The zero value works for Open; Embedded needs a Dir.
type Config struct {
	// Dir is where an embedded server keeps its files. It belongs to it alone.
	Dir string
	// Listen is the address, as "host:port", at which an embedded server takes connections of
	// other processes. Port 0 stands for any. "": it takes none.
	Listen string
	// SyncAlways makes an embedded server write to the disk itself before anything
	// returns, so that not even a failure of power loses a task. The default is once
	// a second: a process that dies loses nothing, a failure of power at most that second.
	SyncAlways bool
	// Replicas is how many servers of a cluster keep each queue, 1 to 5. 0: 1. It
	// counts when a queue comes to be.
	Replicas int
	// Prefix begins the name of everything that is afar's in the server: letters,
	// digits and hyphens. "": "afar". Brokers with different prefixes do not see each other.
	Prefix string
	// User and Password are asked for by an embedded server that listens, if they are not empty,
	// and given to others, unless the URL has some.
	User, Password string
	// Credentials is a file with a NATS user's credentials, for Open.
	Credentials string
	// TLS is what an embedded server that listens, or Open, uses. nil: no TLS, unless
	// the URL asks for it.
	TLS *tls.Config
	// Log is told what the server and the connection have to say. nil: nobody is.
	Log slog.Handler

	tune tuning
}

// tuning is what only tests change.
type tuning struct {
	spareLog    int64         // 0: as spareLog says
	cleanStep   int64         // 0: as cleanStep says
	deleteAfter time.Duration // 0: as long as the server may take to write to the disk
}

// Embedded runs a server with its files in a directory inside this process, for this
// process alone. It is Config{Dir: dir}.Embedded.
func Embedded(ctx context.Context, dir string) (*Broker, error) {
	return Config{Dir: dir}.Embedded(ctx)
}

// Open uses a NATS server or cluster that has JetStream. It is Config{}.Open.
func Open(ctx context.Context, url string) (*Broker, error) {
	return Config{}.Open(ctx, url)
}

const (
	defaultPrefix = "afar"
	// minServer is the first version of the server that reads many messages at one request.
	minServer = "2.11.0"
	// reconnectFirst and reconnectMost are how long a client waits before it tries to connect
	// again, at first and after many times.
	reconnectFirst = 5 * time.Millisecond
	reconnectMost  = 500 * time.Millisecond
	// openPatience is how long Open waits for the server if its context has no deadline.
	openPatience = 10 * time.Second
	// foreignSync is a bit more than the time after which a server writes to the disk
	// itself if nobody has configured it otherwise.
	foreignSync = 130 * time.Second
	// replicatedSync and ownSync are how long records that were written again must have been
	// there before the older ones are deleted: on several servers, and on one
	// that writes to the disk once a second.
	replicatedSync = 5 * time.Second
	ownSync        = 3 * time.Second
)

// Open uses the NATS server or the cluster at a URL: nats://host:port, or tls://, ws:// and wss://,
// several with commas between them. Its parameters are replicas, prefix and
// credentials, as in Config, which they come before. Open fails if no server answers, or it is
// one without JetStream, or one before version 2.11. No error has a password in it.
func (c Config) Open(ctx context.Context, rawURL string) (*Broker, error) {
	servers, err := c.parse(rawURL)
	if err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, openPatience)
		defer cancel()
	}
	b := newBroker(c)
	b.deleteAfter = foreignSync
	if c.Replicas > 1 {
		b.deleteAfter = replicatedSync
	}
	b.tuned()
	var options []nats.Option
	if c.User != "" {
		options = append(options, nats.UserInfo(c.User, c.Password))
	}
	if c.Credentials != "" {
		options = append(options, nats.UserCredentials(c.Credentials))
	}
	if c.TLS != nil {
		options = append(options, nats.Secure(c.TLS))
	}
	if err := b.connect(ctx, servers, options...); err != nil {
		b.stop(err)
		return nil, fmt.Errorf("natsq: %s: %w", redacted(servers), err)
	}
	return b, nil
}

// check checks what every broker needs.
func (c *Config) check() error {
	if c.Prefix == "" {
		c.Prefix = defaultPrefix
	}
	if strings.Trim(c.Prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" || len(c.Prefix) > 64 {
		return fmt.Errorf("natsq: the prefix %q has other characters than letters, digits and hyphens, or more than 64", c.Prefix)
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		return fmt.Errorf("natsq: %d replicas: there may be 1 to 5", c.Replicas)
	}
	return nil
}

// parse takes the parameters out of a URL. Its errors do not have what is in it, which may be
// a password.
func (c *Config) parse(rawURL string) (servers string, err error) {
	servers, query, _ := strings.Cut(rawURL, "?")
	for server := range strings.SplitSeq(servers, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil || u.Host == "" {
			return "", errors.New("natsq: the URL is not one like nats://host:4222")
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return "", fmt.Errorf("natsq: the URL begins with %q, not with nats://, tls://, ws:// or wss://", u.Scheme)
		}
	}
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return "", errors.New("natsq: the parameters of the URL cannot be read")
	}
	for name, values := range parameters {
		value := values[len(values)-1]
		switch name {
		case "replicas":
			if c.Replicas, err = strconv.Atoi(value); err != nil || c.Replicas < 1 {
				return "", fmt.Errorf("natsq: replicas=%s is not a number from 1 to 5", value)
			}
		case "prefix":
			c.Prefix = value
		case "credentials":
			c.Credentials = value
		default:
			return "", fmt.Errorf("natsq: the URL has an unknown parameter %q: there are replicas, prefix and credentials", name)
		}
	}
	return servers, nil
}

// redacted is what may be shown of URLs.
func redacted(servers string) string {
	var all []string
	for server := range strings.SplitSeq(servers, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil {
			continue
		}
		u.User = nil
		all = append(all, u.String())
	}
	return strings.Join(all, ",")
}

// connect connects, and makes sure of what is needed there.
func (b *Broker) connect(ctx context.Context, servers string, options ...nats.Option) error {
	options = append(options,
		nats.Name("afar"), nats.MaxReconnects(-1), nats.CustomReconnectDelay(reconnectDelay), nats.ReconnectBufSize(-1),
		nats.PingInterval(5*time.Second), nats.MaxPingsOutstanding(3), nats.Timeout(timeLeft(ctx)),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectHandler(func(*nats.Conn) { b.reconnected() }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { b.disconnected(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.log.Warn("NATS", "error", err) }))
	conn, err := nats.Connect(servers, options...)
	if err != nil {
		return err
	}
	b.conn = conn
	if b.js, err = jetstream.New(conn); err == nil {
		if err = b.suits(ctx); err == nil {
			err = b.listen()
		}
	}
	if err != nil {
		conn.Close()
	}
	return err
}

// reconnectDelay is how long a client waits that has tried so often.
func reconnectDelay(attempts int) time.Duration {
	d := min(reconnectMost, reconnectFirst<<min(attempts, 10))
	return d/2 + rand.N(d/2)
}

// timeLeft is how long a context lasts.
func timeLeft(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return max(time.Millisecond, time.Until(deadline))
	}
	return openPatience
}

// suits makes sure that the server can do what is needed.
func (b *Broker) suits(ctx context.Context) error {
	if version := b.conn.ConnectedServerVersion(); older(version, minServer) {
		return fmt.Errorf("the server's version is %s: it must be %s or later", version, minServer)
	}
	if most := b.conn.MaxPayload(); most < minPayload {
		return fmt.Errorf("the server's max_payload is %d bytes: it must be %d or more", most, minPayload)
	}
	err := b.account(ctx)
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return errors.New("the server has no JetStream: it must be started with it (nats-server -js), and the account must have it")
	}
	if err != nil {
		return fmt.Errorf("asking for JetStream: %w", err)
	}
	return nil
}

// account asks for JetStream until there is an answer: a cluster that has no leader gives none.
func (b *Broker) account(ctx context.Context) error {
	for {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		_, err := b.js.AccountInfo(limited)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
}

// older compares versions, as far as they are numbers.
func older(version, than string) bool {
	var a, b [3]int
	_, _ = fmt.Sscanf(version, "%d.%d.%d", &a[0], &a[1], &a[2])
	_, _ = fmt.Sscanf(than, "%d.%d.%d", &b[0], &b[1], &b[2])
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
