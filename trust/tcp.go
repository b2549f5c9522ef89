package trust

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/afar-go/afar/internal/launch"
)

// The variables that name other files than DefaultFiles for targets tcp://….
const (
	// KeyVariable names the file of the caller's key.
	KeyVariable = "AFAR_KEY"
	// KnownNodesVariable names the file of the nodes that the caller knows.
	KnownNodesVariable = "AFAR_KNOWN_NODES"
)

// A program that imports this package, if only for that, has targets tcp://….
func init() { launch.RegisterTCP(launch.Network{Dial: dialTCP, Secure: secureTCP}) }

// CallerFiles returns DefaultFiles, with what the environment names instead.
func CallerFiles() (Files, error) {
	key, known := os.Getenv(KeyVariable), os.Getenv(KnownNodesVariable)
	files, err := DefaultFiles()
	if err != nil && (key == "" || known == "") {
		return Files{}, err
	}
	if key != "" {
		files.Key = key
	}
	if known != "" {
		files.KnownNodes = known
	}
	return files, nil
}

// Dial connects to a node at host:port, for [Client]. An error says why it cannot be
// reached, and not which node that is: whoever wants it says so.
func Dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err == nil {
		return conn, nil
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		err = &dialError{name.Err, err}
		if name.IsNotFound {
			err = &outOfReach{reason: "no such host", err: err}
		}
		return nil, err
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return nil, &dialError{errno.Error(), err}
	}
	return nil, err
}

// dialError is an error of package net without what it tried.
type dialError struct {
	text string
	err  error
}

func (e *dialError) Error() string { return e.text }
func (e *dialError) Unwrap() error { return e.err }

// dialTCP connects to host:port.
func dialTCP(ctx context.Context, address string) (launch.Link, error) {
	conn, err := Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return NewLink(conn), nil
}

// secureTCP does the caller's side of the handshake over a link to a node.
func secureTCP(ctx context.Context, link launch.Link, address string) (launch.Link, error) {
	config, err := caller(address)
	if err != nil {
		_ = link.Close()
		return nil, err
	}
	conn, err := Client(ctx, asConn(link), config)
	if err != nil {
		return nil, advise(err, config)
	}
	return NewLink(conn), nil
}

// caller is who this program's user is to nodes.
func caller(address string) (*ClientConfig, error) {
	files, err := CallerFiles()
	if err != nil {
		return nil, err
	}
	key, err := LoadKey(files.Key)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("you have no key: run: %s", command("afar key new", KeyVariable))
	}
	if err != nil {
		return nil, &outOfReach{reason: "authentication failed", err: err}
	}
	return &ClientConfig{Key: key, Address: address, Known: &KnownNodes{Path: files.KnownNodes}}, nil
}

// advise says what to do about an error of Client. Whoever wanted the target says
// itself which node that is.
func advise(err error, config *ClientConfig) error {
	err = &unnamed{err, "trust: node " + config.Address + ": "}
	switch {
	case errors.Is(err, ErrUnknownNode):
		err = fmt.Errorf("%w; if that is its key, run: %s", err,
			command("afar key trust "+shellWord(config.Address), KnownNodesVariable))
		return &outOfReach{reason: "host key not accepted", err: err}
	case errors.Is(err, ErrNodeChanged):
		return &outOfReach{reason: "host key not accepted", err: err}
	case errors.Is(err, ErrRefused):
		err = fmt.Errorf("%w; who may let you in there runs: afar key authorize %s", err, shellWord(config.Key.String()))
		return &outOfReach{reason: "authentication failed", err: err}
	}
	return err
}

// unnamed is an error without what it begins with.
type unnamed struct {
	error
	prefix string
}

func (u *unnamed) Error() string { return strings.TrimPrefix(u.error.Error(), u.prefix) }
func (u *unnamed) Unwrap() error { return u.error }

// command is what is to be typed, with what the environment says now.
func command(text, variable string) string {
	if value := os.Getenv(variable); value != "" {
		return variable + "=" + shellWord(value) + " " + text
	}
	return text
}

// outOfReach is an error with one of the reasons that package reach knows.
type outOfReach struct {
	reason string
	err    error
}

func (e *outOfReach) Error() string { return strings.TrimPrefix(e.err.Error(), "trust: ") }
func (e *outOfReach) Unwrap() error { return e.err }

// Reason returns the reason why a node is out of reach.
func (e *outOfReach) Reason() string { return e.reason }

// asConn returns the connection below a link, or makes one of it.
func asConn(link launch.Link) net.Conn {
	if own, ok := link.(*Link); ok {
		if _, secured := own.conn.(*tls.Conn); !secured {
			return own.conn
		}
	}
	return &linkConn{Link: link}
}
