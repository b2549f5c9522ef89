package redisq

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// place is what a URL says: where the server is, and where in it.
type place struct {
	option  rueidis.ClientOption
	prefix  string
	cluster bool
	shown   string // the URL without what is secret
}

// parsePlace reads a URL. Its errors never have the password.
func parsePlace(text string) (*place, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The text is left out, since it may have a password.
		return nil, errors.New("redisq: the URL cannot be parsed: special characters of a password must be escaped, as in p%40ss")
	}
	p := &place{prefix: "afar", shown: shown(u)}
	if err := p.read(u); err != nil {
		return nil, fmt.Errorf("redisq: %s: %w", p.shown, err)
	}
	return p, nil
}

// shown is a URL as errors may show it.
func shown(u *url.URL) string {
	s := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.User != nil && u.User.Username() != "" {
		s.User = url.User(u.User.Username())
	}
	return s.String()
}

func (p *place) read(u *url.URL) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("the parameters cannot be parsed")
	}
	secure := false
	switch u.Scheme {
	case "redis", "valkey":
		err = p.readHost(u)
	case "rediss", "valkeys":
		secure = true
		err = p.readHost(u)
	case "unix":
		if u.Host != "" || u.Path == "" {
			err = errors.New("a socket is named by an absolute path, as in unix:///run/redis.sock")
		}
		p.option.InitAddress = []string{u.Path}
	default:
		err = fmt.Errorf("the scheme %q is not redis, rediss, valkey, valkeys or unix", u.Scheme)
	}
	if err != nil {
		return err
	}
	if u.User != nil {
		p.option.Username = u.User.Username()
		p.option.Password, _ = u.User.Password()
	}
	if err := p.readParameters(query); err != nil {
		return err
	}
	return p.readTLS(u, query, secure)
}

// readHost reads host, port and database.
func (p *place) readHost(u *url.URL) error {
	p.option.InitAddress = []string{address(u.Host)}
	db := strings.Trim(u.Path, "/")
	if db == "" {
		return nil
	}
	n, err := strconv.Atoi(db)
	if err != nil || n < 0 {
		return fmt.Errorf("the path is the number of a database, not %q", path.Clean(u.Path))
	}
	p.option.SelectDB = n
	return nil
}

// address adds what is missing of one.
func address(hostport string) string {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		host, port = strings.Trim(hostport, "[]"), ""
	}
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = "6379"
	}
	return net.JoinHostPort(host, port)
}

// tlsParameters are those of rediss.
var tlsParameters = map[string]bool{"ca": true, "cert": true, "key": true, "server_name": true, "skip_verify": true}

func (p *place) readParameters(query url.Values) error {
	for name, values := range query {
		if name == "addr" {
			for _, v := range values {
				p.option.InitAddress = append(p.option.InitAddress, address(v))
			}
			continue
		}
		if len(values) != 1 {
			return fmt.Errorf("the parameter %q is there %d times", name, len(values))
		}
		if err := p.readParameter(name, values[0]); err != nil {
			return err
		}
	}
	if p.cluster && p.option.Sentinel.MasterSet != "" {
		return errors.New("cluster and master_set exclude each other")
	}
	if len(p.option.InitAddress) > 1 && !p.cluster && p.option.Sentinel.MasterSet == "" {
		return errors.New("several addresses are for cluster=true or master_set=NAME")
	}
	if p.cluster && p.option.SelectDB != 0 {
		return errors.New("a cluster has no other database than 0")
	}
	p.option.ForceSingleClient = !p.cluster && p.option.Sentinel.MasterSet == ""
	return nil
}

func (p *place) readParameter(name, value string) (err error) {
	switch name {
	case "prefix":
		p.prefix = value
		if value == "" || len(value) > 64 || strings.ContainsAny(value, "{} \n") {
			err = fmt.Errorf("the prefix %q is not 1 to 64 bytes without braces and spaces", value)
		}
	case "db":
		p.option.SelectDB, err = strconv.Atoi(value)
		if err != nil || p.option.SelectDB < 0 {
			err = fmt.Errorf("db is the number of a database, not %q", value)
		}
	case "cluster":
		if p.cluster, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("cluster is true or false, not %q", value)
		}
	case "master_set":
		p.option.Sentinel.MasterSet = value
	case "sentinel_user":
		p.option.Sentinel.Username = value
	case "sentinel_password":
		p.option.Sentinel.Password = value
	default:
		if !tlsParameters[name] {
			err = fmt.Errorf("there is no parameter %q", name)
		}
	}
	return err
}

// readTLS makes the configuration of rediss, with ca (a PEM file of those who are trusted in place of the
// system's), cert and key (PEM files of the client's own), server_name and skip_verify.
func (p *place) readTLS(u *url.URL, query url.Values, secure bool) (err error) {
	if !secure {
		for name := range tlsParameters {
			if query.Has(name) {
				return fmt.Errorf("the parameter %q is for rediss", name)
			}
		}
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: query.Get("server_name")}
	if query.Has("skip_verify") {
		if config.InsecureSkipVerify, err = strconv.ParseBool(query.Get("skip_verify")); err != nil {
			return fmt.Errorf("skip_verify is true or false, not %q", query.Get("skip_verify"))
		}
	}
	if file := query.Get("ca"); file != "" {
		if config.RootCAs, err = readCA(file); err != nil {
			return err
		}
	}
	if query.Has("cert") != query.Has("key") {
		return errors.New("cert and key need each other")
	}
	if query.Has("cert") {
		own, err := tls.LoadX509KeyPair(query.Get("cert"), query.Get("key"))
		if err != nil {
			return fmt.Errorf("the client's certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	p.option.TLSConfig, p.option.Sentinel.TLSConfig = config, config
	return nil
}

func readCA(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the file of authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("the file of authorities %s has no certificate", file)
	}
	return pool, nil
}

// dial connects, with TLS if there is a configuration. The name that a certificate must have is
// that of the host that is dialed: a cluster has several.
func (p *place) dial(ctx context.Context, to string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	if strings.HasPrefix(to, "/") {
		return dialer.DialContext(ctx, "unix", to)
	}
	if config == nil {
		return dialer.DialContext(ctx, "tcp", to)
	}
	return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", to)
}
