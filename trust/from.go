package trust

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strings"
)

// unixHost stands for the address of a caller on a unix socket.
const unixHost = "unix"

// A host is where a caller is, as far as from= and a Limiter care.
type host struct {
	ip   netip.Addr // valid for a caller over IP; without zone, IPv4 as such
	text string     // what patterns are matched with; "" matches nothing
}

// hostOf finds the host in an address. One that is neither IP nor a unix
// socket is a host that no pattern matches.
func hostOf(address net.Addr) host {
	var ip netip.Addr
	switch a := address.(type) {
	case nil:
		return host{}
	case *net.UnixAddr:
		return host{text: unixHost}
	case *net.TCPAddr:
		ip = a.AddrPort().Addr()
	default:
		port, err := netip.ParseAddrPort(a.String())
		if err != nil {
			return host{}
		}
		ip = port.Addr()
	}
	if !ip.IsValid() {
		return host{}
	}
	ip = ip.Unmap().WithZone("")
	return host{ip: ip, text: ip.String()}
}

// parseFrom reads the patterns of from=.
func parseFrom(value string) ([]string, error) {
	list := strings.Split(value, ",")
	allows := false
	for i, pattern := range list {
		list[i] = strings.TrimSpace(pattern)
		bare, denies := strings.CutPrefix(list[i], "!")
		if _, err := matchHost(bare, host{}); err != nil {
			return nil, err
		}
		allows = allows || !denies
	}
	if !allows {
		return nil, errors.New("allows no address: at least one must be without the sign !, which denies")
	}
	return list, nil
}

// allowed reports whether patterns let a host in. It errs on the side of no.
func allowed(patterns []string, h host) bool {
	yes := false
	for _, pattern := range patterns {
		bare, denies := strings.CutPrefix(pattern, "!")
		match, err := matchHost(bare, h)
		if err != nil || match && denies {
			return false
		}
		yes = yes || match
	}
	return yes
}

// matchHost reports whether a host is one that pattern stands for: a network
// like 10.0.0.0/8, an address, an address with * and ? in it, or the word unix.
func matchHost(pattern string, h host) (bool, error) {
	if strings.Contains(pattern, "/") {
		network, err := netip.ParsePrefix(pattern)
		switch {
		case err != nil:
			return false, fmt.Errorf("%q is not a network like 10.0.0.0/8", pattern)
		case network.Addr().Is4In6():
			return false, fmt.Errorf("%q: write IPv4 addresses as such", pattern)
		case network != network.Masked():
			return false, fmt.Errorf("%q is not the network %s: it has bits of a host", pattern, network.Masked())
		}
		return network.Contains(h.ip), nil
	}
	if pattern == unixHost {
		return h.text == unixHost, nil
	}
	if ip, err := netip.ParseAddr(pattern); err == nil {
		if ip.Zone() != "" || ip.Is4In6() {
			return false, fmt.Errorf("%q: write addresses without zone, and IPv4 ones as such", pattern)
		}
		return ip == h.ip, nil
	}
	if !strings.ContainsAny(pattern, "*?") || strings.Trim(pattern, "0123456789abcdef.:*?") != "" {
		return false, fmt.Errorf("%q is not an address; names are not looked up", pattern)
	}
	match, err := path.Match(pattern, h.text)
	return match && h.text != "", err
}
