package redisq

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/afar-go/afar/queue"
)

// Broker is a queue.Broker on a Redis server. Its methods may be called concurrently, and by
// any number of processes that have a Broker of the same server and prefix.
type Broker struct {
	place  *place
	client rueidis.Client
	name   string // of this broker, by which the server knows its requests
	slots  slots

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup        // methods that run; Add with mu
	sends  sync.WaitGroup        // commands, perhaps of methods that have given up
	conns  map[net.Conn]struct{} // open ones, so that Close waits for no server
	known  map[string]bool       // queues that are in the list of queues
}

var _ queue.Broker = (*Broker)(nil)

// Open connects to a server, and checks that it is one that will do. It returns when that is
// known, or ctx ends. Close must follow.
//
// The URL is redis://user:password@host:port/db, rediss:// for TLS, or unix:///path?db=N; valkey://
// and valkeys:// mean the same. Its parameters are
//
//	prefix=NAME        of all keys: afar, unless said otherwise
//	cluster=true       the server belongs to a cluster; addr=host:port, repeated, names others
//	master_set=NAME    the addresses are those of sentinels; sentinel_user, sentinel_password
//	db=N               the database, 0 unless said otherwise
//	ca=FILE            PEM: who is trusted, in place of the system's authorities
//	cert=FILE key=FILE PEM: the client's certificate
//	server_name=NAME   which the certificate must have, in place of the host's
//	skip_verify=true   no check of the certificate at all
//
// Others are errors. No error has the password in it.
func Open(ctx context.Context, url string) (*Broker, error) {
	p, err := parsePlace(url)
	if err != nil {
		return nil, err
	}
	b := &Broker{place: p, name: rand.Text(), conns: map[net.Conn]struct{}{}, known: map[string]bool{}}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, b.cancel) // a server that does not answer must not hold Open
	err = b.connect(ctx)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		_ = b.Close()
		return nil, fmt.Errorf("redisq: %s: %w", p.shown, err)
	}
	return b, nil
}

// Connections are many when many wait, so their buffers are small. Retries and the check that
// a connection is alive are this package's and rueidis' own, respectively.
const (
	bufferSize  = 64 << 10
	maxBlocking = 1 << 12          // methods that wait at a time
	answerTime  = 10 * time.Second // for an answer, before the connection counts as lost
)

func (b *Broker) connect(ctx context.Context) (err error) {
	option := b.place.option
	option.DialCtxFn = b.dial
	option.ClientName = "afar"
	option.DisableCache, option.DisableRetry = true, true
	option.ReadBufferEachConn, option.WriteBufferEachConn, option.RingScaleEachConn = bufferSize, bufferSize, 8
	option.BlockingPoolSize, option.BlockingPoolCleanup, option.BlockingPoolMinSize = maxBlocking, time.Minute, 1
	option.ConnWriteTimeout = answerTime
	option.Sentinel.TopologyRefreshInterval = 0
	if option.Sentinel.MasterSet != "" {
		option.Sentinel.TopologyRefreshInterval = 5 * time.Second
	}
	if b.client, err = rueidis.NewClient(option); err != nil {
		return err
	}
	return b.check(ctx)
}

// dial makes a connection that Close closes. A server that was away may have lost its list of queues, so
// they are listed again.
func (b *Broker) dial(_ context.Context, to string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	c, err := b.place.dial(b.ctx, to, dialer, config)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		_ = c.Close()
		return nil, queue.ErrClosed
	}
	clear(b.known)
	t := &tracked{Conn: c, broker: b}
	b.conns[t] = struct{}{}
	return t, nil
}

// tracked is a connection that its broker knows of.
type tracked struct {
	net.Conn
	broker *Broker
}

// Close implements net.Conn.
func (t *tracked) Close() error {
	t.broker.mu.Lock()
	delete(t.broker.conns, t)
	t.broker.mu.Unlock()
	return t.Conn.Close()
}

// check refuses servers that will not do.
func (b *Broker) check(ctx context.Context) error {
	for node, client := range b.client.Nodes() {
		text, err := client.Do(ctx, client.B().Info().Section("server").Build()).ToString()
		if err != nil {
			if rueidis.IsRedisNil(err) {
				err = errors.New("INFO has no answer")
			}
			return fmt.Errorf("%s: %w", node, err)
		}
		if err := checkServer(parseInfo(text), b.place.cluster); err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
	}
	// It asks for a stream that is never there, as one who has the rights that are needed.
	err := b.client.Do(ctx, b.client.B().Xlen().Key(b.place.prefix+":none").Build()).Error()
	if err != nil && strings.Contains(err.Error(), "unknown command") {
		return fmt.Errorf("the server has no streams: %w", err)
	}
	return err
}

// parseInfo reads lines of name:value.
func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		info[name] = value
	}
	return info
}

// checkServer refuses a server that is too old, or of another kind than the URL says. Valkey
// says that it is Redis 7.2, for programs that ask.
func checkServer(info map[string]string, cluster bool) error {
	version := info["redis_version"]
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	switch {
	case err1 != nil || err2 != nil:
		return fmt.Errorf("the server does not say that it is Redis or Valkey: its redis_version is %q", version)
	case a < 6 || a == 6 && b < 2:
		return fmt.Errorf("the server is Redis %s: 6.2 or later is needed", version)
	case info["redis_mode"] == "cluster" && !cluster:
		return errors.New("the server belongs to a cluster: the URL needs cluster=true")
	case info["redis_mode"] == "standalone" && cluster:
		return errors.New("the server does not belong to a cluster, as cluster=true says")
	case info["redis_mode"] == "sentinel":
		return errors.New("the server is a sentinel: the URL needs master_set=NAME")
	}
	return nil
}

// Close ends the broker: methods that run, and those called later, return queue.ErrClosed. It
// returns when all connections are closed, and may be called several times. What is stored stays.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.cancel()
	open := make([]net.Conn, 0, len(b.conns))
	for c := range b.conns {
		open = append(open, c)
	}
	b.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
	b.calls.Wait()
	b.sends.Wait()
	if b.client != nil {
		b.client.Close()
	}
	return nil
}
