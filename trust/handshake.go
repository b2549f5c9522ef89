package trust

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// protocol is what both sides must name (ALPN, RFC 7301): a handshake made for
// something else, on the same port or with the same key, is none of ours.
const protocol = "afar/1"

// A ClientConfig says who a caller is, and which node it wants. It may be used
// by several handshakes at once, and must not be changed while it is.
type ClientConfig struct {
	// Key is the caller's identity. It is required.
	Key *Key
	// Address is the node's, as in known_nodes: host:port, or unix:/path.
	Address string
	// Known has the keys of nodes. The node at Address must have one of those
	// that are there for it.
	Known *KnownNodes
	// TrustFirst has a node that is not in Known written into it. The zero
	// value does not: such a node is an ErrUnknownNode.
	TrustFirst bool
	// Pinned, unless zero, is the key that the node must have; Address, Known
	// and TrustFirst are not looked at then.
	Pinned PublicKey
	// Timeout bounds the whole handshake; 0 means 10 s.
	Timeout time.Duration
}

// A ServerConfig says who a node is, and whom it lets in. It may be used by
// several handshakes at once, and must not be changed while it is.
type ServerConfig struct {
	// Key is the node's identity. It is required.
	Key *Key
	// Authorized has the keys of the callers. It is required.
	Authorized *AuthorizedKeys
	// Timeout bounds the whole handshake; 0 means 10 s.
	Timeout time.Duration
}

// A Peer is a caller that was let in.
type Peer struct {
	Key     PublicKey
	Grant   Grant    // how far it is let in, as the file said at the handshake
	Address net.Addr // where it calls from
}

// Client does the caller's side of the handshake on conn. When it returns
// without error, the node has proven its key, the key is the one expected, and
// the node has let the caller in; nothing but the handshake was sent. The
// tls.Conn is the caller's to close. Its Close says farewell, for which a peer
// that reads nothing makes it wait up to 5 s; closing its NetConn cuts at once.
//
// On error conn is closed. The error is ErrUnknownNode or ErrNodeChanged if the
// node is not the one expected, before the node is told who calls; ErrRefused if
// the node does not let the caller in; context.DeadlineExceeded after Timeout;
// the cause of ctx when it ends before. ctx has no effect afterwards.
func Client(ctx context.Context, conn net.Conn, config *ClientConfig) (*tls.Conn, error) {
	g := newGuard(ctx, conn, config.Timeout)
	link, err := config.handshake(g)
	if err = g.finish(err); err != nil {
		return nil, fmt.Errorf("trust: node %s: %w", config.name(conn), err)
	}
	return link, nil
}

// Server does the node's side of the handshake on conn. When it returns without
// error, the caller has proven its key, Authorized lets it in, and it was told
// so. Whoever called Server closes the tls.Conn, as with Client.
//
// On error conn is closed, and a caller that has proven its key was told that
// the key is not authorised, no more. The error is for the node's log. It names
// the caller's address, and the reason: ErrUnknownKey, ErrRevoked, ErrExpired,
// ErrWrongAddress, a file that cannot be used, a handshake that is garbage, too
// long (64 KiB) or too slow (context.DeadlineExceeded), or the cause of ctx when
// it ends before. ctx has no effect afterwards.
//
// Server starts no goroutine that outlives it. How many handshakes run at once
// is the owner's to bound; a [Limiter] slows down addresses that keep failing.
func Server(ctx context.Context, conn net.Conn, config *ServerConfig) (*tls.Conn, *Peer, error) {
	g := newGuard(ctx, conn, config.Timeout)
	link, peer, err := config.handshake(g)
	if err = g.finish(err); err != nil {
		return nil, nil, fmt.Errorf("trust: caller %s: %w", conn.RemoteAddr(), err)
	}
	return link, peer, nil
}

// handshake does everything that finish then decides on.
func (c *ClientConfig) handshake(g *guard) (*tls.Conn, error) {
	switch {
	case c.Key == nil:
		return nil, errors.New("the caller has no key")
	case c.Known == nil && c.Pinned.IsZero():
		return nil, errors.New("there is nothing to check the node's key against")
	}
	settings := common(c.Key)
	settings.InsecureSkipVerify = true // no authority vouches for nodes: the key itself is compared
	var first *PublicKey               // of a node that is to be trusted from now on
	settings.VerifyConnection = func(state tls.ConnectionState) error {
		key, err := provenKey(state)
		if err == nil {
			err = c.check(key)
		}
		if c.TrustFirst && errors.Is(err, ErrUnknownNode) {
			first, err = &key, nil
		}
		return g.deny(err)
	}
	link := tls.Client(g, settings)
	if err := link.Handshake(); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the node closed the link before it was known; it may have had too many failures from here: %w", err)
	} else if err != nil {
		return nil, err
	}
	// TLS asks VerifyConnection before it checks the node's signature, so a key
	// is written down only here, where the node has proven that it is its own.
	if first != nil {
		if err := c.Known.add(c.Address, *first); err != nil {
			return nil, err
		}
	}
	return link, readVerdict(link)
}

// check compares the node's key with the one it must have.
func (c *ClientConfig) check(key PublicKey) error {
	switch {
	case c.Pinned.IsZero():
		return c.Known.check(c.Address, key)
	case c.Pinned != key:
		return fmt.Errorf("%w: it answers with %s, not with %s",
			ErrNodeChanged, key.Fingerprint(), c.Pinned.Fingerprint())
	}
	return nil
}

// name is what the node is called in errors.
func (c *ClientConfig) name(conn net.Conn) string {
	if c.Address != "" {
		return c.Address
	}
	return conn.RemoteAddr().String()
}

// handshake does everything that finish then decides on.
func (c *ServerConfig) handshake(g *guard) (*tls.Conn, *Peer, error) {
	switch {
	case c.Key == nil:
		return nil, nil, errors.New("the node has no key")
	case c.Authorized == nil:
		return nil, nil, errors.New("the node has no file of authorised keys")
	}
	settings := common(c.Key)
	settings.ClientAuth = tls.RequireAnyClientCert // that it is the right one is for Authorized to say
	settings.SessionTicketsDisabled = true
	settings.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := provenKey(state)
		return g.deny(err)
	}
	link := tls.Server(g, settings)
	if err := link.Handshake(); err != nil {
		return nil, nil, alerted(err)
	}
	// Only now has the caller proven that the key is its own: what is logged of
	// it from here on is true.
	key, err := provenKey(link.ConnectionState())
	if err != nil {
		return nil, nil, err
	}
	grant, err := c.Authorized.lookup(key, g.RemoteAddr(), time.Now())
	if err != nil {
		_ = sendRefusal(link, key) // best effort: the reason is what counts
		return nil, nil, g.deny(err)
	}
	if err := sendWelcome(link); err != nil {
		return nil, nil, err
	}
	return link, &Peer{Key: key, Grant: grant, Address: g.RemoteAddr()}, nil
}

// errNotAccepted is how a handshake ends with a caller that does not know the node.
var errNotAccepted = errors.New("the caller did not accept the node's key")

// alerted says what a caller means that ends the handshake by TLS's word for what it
// thinks of the node's key. Package crypto/tls has that word as a text only.
func alerted(err error) error {
	told, ok := errors.AsType[*net.OpError](err)
	if ok && told.Op == "remote error" && told.Err.Error() == "tls: bad certificate" {
		return errNotAccepted
	}
	return err
}

// common is what both sides demand of TLS.
func common(key *Key) *tls.Config { return commonFor(key, protocol) }

// commonFor is common for a protocol.
func commonFor(key *Key, protocol string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{key.certificate},
		MinVersion:   tls.VersionTLS13,
		MaxVersion:   tls.VersionTLS13,
		NextProtos:   []string{protocol},
		// Small records serve pages that are shown while they arrive. Frames are
		// of use when they are complete.
		DynamicRecordSizingDisabled: true,
	}
}

// provenKey returns the key of the other side. It checks again what the
// configuration demands, because crypto/tls lets some of it pass: a peer that
// names no protocol at all, for one. The key is proven when the handshake is done.
func provenKey(state tls.ConnectionState) (PublicKey, error) { return provenFor(state, protocol) }

// provenFor is provenKey for a protocol.
func provenFor(state tls.ConnectionState, protocol string) (PublicKey, error) {
	switch {
	case state.Version != tls.VersionTLS13:
		return PublicKey{}, fmt.Errorf("%s instead of TLS 1.3", tls.VersionName(state.Version))
	case state.NegotiatedProtocol != protocol:
		return PublicKey{}, fmt.Errorf("the peer does not speak %s", protocol)
	case state.DidResume:
		return PublicKey{}, errors.New("a resumed session")
	case len(state.PeerCertificates) != 1:
		return PublicKey{}, fmt.Errorf("%d certificates instead of one", len(state.PeerCertificates))
	}
	raw, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return PublicKey{}, fmt.Errorf("a certificate for %s; only Ed25519 keys are used",
			state.PeerCertificates[0].PublicKeyAlgorithm)
	}
	return publicKey(raw)
}
