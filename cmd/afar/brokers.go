package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/natsq"
	"github.com/afar-go/afar/queue/redisq"
	"github.com/afar-go/afar/trust"
)

// queueVariable names the queue that commands mean which are given none.
const queueVariable = "AFAR_QUEUE"

// opened is a broker that is to be closed.
type opened interface {
	queue.Broker
	Close() error
}

// opener opens the broker at a URL.
type opener func(ctx context.Context, url string) (opened, error)

// brokers are those that a URL can name, by its scheme.
var brokers = map[string]opener{
	"redis": onRedis, "rediss": onRedis, "valkey": onRedis, "valkeys": onRedis, "unix": onRedis,
	"nats": onNATS, "tls": onNATS, "ws": onNATS, "wss": onNATS,
}

func onRedis(ctx context.Context, url string) (opened, error) {
	b, err := redisq.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// onNATS takes parameters of TLS out of the URL, which are those of Redis.
func onNATS(ctx context.Context, url string) (opened, error) {
	servers, query, _ := strings.Cut(url, "?")
	config, query, err := clientTLS(query)
	if err != nil {
		return nil, err
	}
	if query != "" {
		servers += "?" + query
	}
	b, err := natsq.Config{TLS: config}.Open(ctx, servers)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// clientTLS reads the parameters ca, cert, key and server_name of a query, and returns the
// others. Without them there is no configuration.
func clientTLS(query string) (*tls.Config, string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, "", usage("the parameters of the URL cannot be read")
	}
	taken := map[string]string{}
	for _, name := range []string{"ca", "cert", "key", "server_name", "pin"} {
		if values.Has(name) {
			taken[name] = values.Get(name)
			values.Del(name)
		}
	}
	if len(taken) == 0 {
		return nil, query, nil
	}
	if pin := taken["pin"]; pin != "" {
		if taken["ca"]+taken["cert"]+taken["server_name"] != "" {
			return nil, "", usage("pin of the URL is for keys, not for certificates: ca, cert and server_name")
		}
		config, err := pinnedTLS(pin, taken["key"])
		return config, values.Encode(), err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: taken["server_name"]}
	if config.RootCAs, err = authorities(taken["ca"]); err != nil {
		return nil, "", err
	}
	if taken["cert"] != "" || taken["key"] != "" {
		own, err := tls.LoadX509KeyPair(taken["cert"], taken["key"])
		if err != nil {
			return nil, "", fmt.Errorf("the client's certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, values.Encode(), nil
}

// pinnedTLS is for an afar broker with a key, which lets in the user's own: that in the file,
// or, without one, where all commands look for it.
func pinnedTLS(pin, file string) (*tls.Config, error) {
	key, _, err := trust.ParsePublicKey("afar-ed25519 " + pin)
	if err != nil {
		return nil, usage("pin of the URL is not the key of a broker: %w", err)
	}
	if file = cmp.Or(file, os.Getenv(trust.KeyVariable)); file == "" {
		files, err := trust.DefaultFiles()
		if err != nil {
			return nil, err
		}
		file = files.Key
	}
	own, err := trust.LoadKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("you have no key, which this broker asks for: run: afar key new; %w", err)
	}
	if err != nil {
		return nil, err
	}
	return (&trust.ClientConfig{Key: own, Pinned: key}).TLS(natsProtocol)
}

// authorities reads a file of certificates; without one they are the system's.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return pool, nil
}

// schemes are the known ones, for people.
func schemes() string { return strings.Join(slices.Sorted(maps.Keys(brokers)), ", ") }

// place is a queue as a user names it, URL#name, or a broker, without the name.
type place struct {
	url    string // secret: it may have a password
	name   string
	shown  string // the URL without what is secret
	scheme string
	secret []string // what no error may have in it
}

// parsePlace reads URL#name. Its errors show nothing of the URL that may be secret.
func parsePlace(text string) (*place, error) {
	address, name, _ := strings.Cut(text, "#")
	scheme, rest, ok := strings.Cut(address, "://")
	switch {
	case !ok:
		return nil, usage("a queue is named like redis://host:6379/0#name")
	case brokers[scheme] == nil:
		return nil, usage("there is no broker of the scheme %q; known are %s", scheme, schemes())
	case strings.Contains(name, "@") && !strings.Contains(rest, "@"):
		return nil, usage("the URL of the broker has a # before its @: in a password it is written %%23")
	}
	p := &place{url: address, name: name, scheme: scheme}
	var parts []string
	for part := range strings.SplitSeq(rest, ",") { // several servers of a cluster
		parts = append(parts, p.hide(part))
	}
	p.shown = scheme + "://" + strings.Join(parts, ",")
	return p, nil
}

// hide notes what is secret in the URL of one server, and returns the rest: what
// is before the @ (a name, which may be a token, and a password) and the parameters.
func (p *place) hide(server string) string {
	if before, inner, ok := strings.Cut(server, "://"); ok && !strings.Contains(before, "@") {
		server = inner
	}
	if i := strings.LastIndexByte(server, '@'); i >= 0 {
		user, password, _ := strings.Cut(server[:i], ":")
		p.keep(server[:i+1])
		p.keep(password)
		if password == "" {
			p.keep(user)
		}
		server = server[i+1:]
	}
	server, query, _ := strings.Cut(server, "?")
	for parameter := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(parameter, "=")
		for _, word := range []string{"pass", "token", "secret", "user"} {
			if strings.Contains(strings.ToLower(key), word) {
				p.keep(value)
			}
		}
	}
	return server
}

// keep adds a secret as it is, and as it is when it is decoded. One of a few letters
// is in many words, and hidden only together with what is around it.
func (p *place) keep(secret string) {
	const short = 3
	decoded, _ := url.PathUnescape(secret)
	for _, s := range []string{secret, decoded} {
		if len(s) > short && !slices.Contains(p.secret, s) {
			p.secret = append(p.secret, s)
		}
	}
}

func (p *place) String() string {
	if p.name == "" {
		return p.shown
	}
	return p.shown + "#" + p.name
}

// open opens the broker.
func (p *place) open(ctx context.Context) (opened, error) {
	b, err := brokers[p.scheme](ctx, p.url)
	if err == nil {
		return b, nil
	}
	var wrong usageError
	var file *fs.PathError
	if errors.As(err, &wrong) || errors.As(err, &file) {
		return nil, fmt.Errorf("%s: %w", p.shown, err)
	}
	if e, ok := errors.AsType[*brokerError](err); ok {
		return nil, e
	}
	return nil, &brokerError{p.shown, err}
}

// brokerError means that a broker is out of reach, or does not let this program in.
type brokerError struct {
	shown string
	err   error
}

// Error names the broker, once.
func (e *brokerError) Error() string {
	if text := e.err.Error(); strings.Contains(text, e.shown) {
		return text
	}
	return e.shown + ": " + e.err.Error()
}

func (e *brokerError) Unwrap() error { return e.err }

// discreet has an error not tell secrets.
func (p *place) discreet(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, s := range p.secret {
		text = strings.ReplaceAll(text, s, "…")
	}
	if text == err.Error() {
		return err
	}
	return &discreetError{text, err}
}

// discreetError is an error with another text.
type discreetError struct {
	text string
	err  error
}

func (e *discreetError) Error() string { return e.text }
func (e *discreetError) Unwrap() error { return e.err }

// placeOf takes the queue from the arguments, or from the environment, and returns the arguments
// that follow. The first argument is a queue if it has :// in it; #name is a queue at
// the broker of the environment.
func placeOf(args []string) (*place, []string, error) {
	given := os.Getenv(queueVariable)
	if len(args) > 0 && strings.Contains(args[0], "://") {
		p, err := parsePlace(args[0])
		return p, args[1:], err
	}
	if given == "" {
		if len(args) > 0 && !strings.Contains(args[0], "@") {
			return nil, nil, usage("%q is no queue, which is named like redis://host:6379/0#name; nor is there one in %s", args[0], queueVariable)
		}
		return nil, nil, usage("which queue? It is named like redis://host:6379/0#name, here or in %s", queueVariable)
	}
	p, err := parsePlace(given)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", queueVariable, err)
	}
	if len(args) > 0 && strings.HasPrefix(args[0], "#") {
		p.name = args[0][1:]
		args = args[1:]
	}
	return p, args, nil
}
