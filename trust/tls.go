package trust

import (
	"crypto/tls"
	"errors"
	"time"
)

// TLS returns the settings of a server that speaks something else than nodes do over TLS, such
// as NATS: callers prove their keys, and Authorized lets them in, by their addresses too. protocol
// names what is spoken (ALPN), and is none of nodes'; the other side has to name the same.
// There is no verdict: who is not let in sees the link closed. Timeout is the server's.
func (c *ServerConfig) TLS(protocol string) (*tls.Config, error) {
	switch {
	case c.Key == nil:
		return nil, errors.New("trust: the server has no key")
	case c.Authorized == nil:
		return nil, errors.New("trust: the server has no file of authorised keys")
	}
	settings := commonFor(c.Key, protocol)
	settings.ClientAuth = tls.RequireAnyClientCert
	settings.SessionTicketsDisabled = true
	settings.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		from := hello.Conn.RemoteAddr()
		own := settings.Clone()
		own.GetConfigForClient = nil
		own.VerifyConnection = func(state tls.ConnectionState) error {
			key, err := provenFor(state, protocol)
			if err == nil {
				_, err = c.Authorized.Lookup(key, from, time.Now())
			}
			return err
		}
		return own, nil
	}
	return settings, nil
}

// TLS returns the settings of a caller of a server that has those of ServerConfig.TLS. The
// server must have the key that Pinned, or Known for Address, says; TrustFirst is not looked at.
func (c *ClientConfig) TLS(protocol string) (*tls.Config, error) {
	switch {
	case c.Key == nil:
		return nil, errors.New("trust: the caller has no key")
	case c.Known == nil && c.Pinned.IsZero():
		return nil, errors.New("trust: there is nothing to check the server's key against")
	}
	settings := commonFor(c.Key, protocol)
	settings.InsecureSkipVerify = true // no authority vouches for servers: the key itself is compared
	settings.VerifyConnection = func(state tls.ConnectionState) error {
		key, err := provenFor(state, protocol)
		if err == nil {
			err = c.check(key)
		}
		return err
	}
	return settings, nil
}
