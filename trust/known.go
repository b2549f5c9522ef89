package trust

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// KnownNodes is the file that says which key each node has, one a line:
//
//	host:port afar-ed25519 <base64> comment
//
// with blank lines, and comments that begin with #. An address that stands in
// several lines may have any of their keys. An IPv6 address is in brackets, and
// the socket of a node on this host is unix:/path.
//
// The file is read at every call. One that does not exist is empty. One with a
// line that cannot be parsed, or that others can write, is an error that names
// it, and no node is trusted. Changes are atomic, keep everything else as it is,
// and lose no change that another process makes at the same time.
//
// All methods may be called concurrently.
type KnownNodes struct {
	// Path is the file; it has no default, see DefaultFiles.
	Path string
}

// Check returns nil if the node at address is known to have the key. If it is
// known by another key, the error is ErrNodeChanged and names both, the file and
// the line. If it is not known at all, the error is ErrUnknownNode; but with
// trustFirst the key is written into the file and trusted, this time and from
// now on. The key must have been proven by the node before.
func (n *KnownNodes) Check(address string, key PublicKey, trustFirst bool) error {
	err := n.check(address, key)
	if errors.Is(err, ErrUnknownNode) && trustFirst {
		err = n.add(address, key)
	}
	if err != nil {
		return fmt.Errorf("trust: node %s: %w", shorten(address), err)
	}
	return nil
}

// Add writes the key of a node into the file, if it is not there, and makes the
// file if there is none. An address that is known by another key is an
// ErrNodeChanged: Forget it first.
func (n *KnownNodes) Add(address string, key PublicKey) error {
	if err := n.add(address, key); err != nil {
		return fmt.Errorf("trust: node %s: %w", shorten(address), err)
	}
	return nil
}

// add is Add for errors that say themselves which node it is.
func (n *KnownNodes) add(address string, key PublicKey) error {
	address, err := cleanAddress(address)
	if err != nil {
		return err
	}
	if key.IsZero() {
		return errors.New("it has no key")
	}
	err = change(n.Path, func(old []byte) ([]byte, error) {
		nodes, err := parseNodes(old, n.Path)
		if err != nil {
			return nil, err
		}
		err = n.compare(nodes, address, key)
		switch {
		case err == nil:
			return nil, errUnchanged
		case !errors.Is(err, ErrUnknownNode):
			return nil, err
		}
		return appendLine(old, address+" "+key.String()), nil
	})
	if err != nil {
		return fmt.Errorf("%s is not changed: %w", n.Path, err)
	}
	return nil
}

// Forget takes all lines of an address out of the file. An address that is not
// in it is an ErrUnknownNode.
func (n *KnownNodes) Forget(address string) error {
	address, err := cleanAddress(address)
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	err = change(n.Path, func(old []byte) ([]byte, error) {
		if _, err := parseNodes(old, n.Path); err != nil {
			return nil, err
		}
		var text strings.Builder
		for line := range strings.Lines(string(old)) {
			if isEntry(line) {
				if node, err := parseNode(strings.TrimSpace(line)); err == nil && node.address == address {
					continue
				}
			}
			text.WriteString(line)
		}
		if text.Len() == len(old) {
			return nil, fmt.Errorf("%w: %s is not in it", ErrUnknownNode, address)
		}
		return []byte(text.String()), nil
	})
	if err != nil {
		return fmt.Errorf("trust: %s is not changed: %w", n.Path, err)
	}
	return nil
}

// Keys returns the keys of every node in the file by its address.
func (n *KnownNodes) Keys() (map[string][]PublicKey, error) {
	nodes, err := n.load()
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	keys := map[string][]PublicKey{}
	for _, node := range nodes {
		keys[node.address] = append(keys[node.address], node.key)
	}
	return keys, nil
}

// check is Check without a change of the file.
func (n *KnownNodes) check(address string, key PublicKey) error {
	address, err := cleanAddress(address)
	if err != nil {
		return err
	}
	nodes, err := n.load()
	if err != nil {
		return fmt.Errorf("no node is trusted: %w", err)
	}
	return n.compare(nodes, address, key)
}

// compare says whether a node with this address has this key.
func (n *KnownNodes) compare(nodes []node, address string, key PublicKey) error {
	var other *node
	for i := range nodes {
		switch {
		case nodes[i].address != address:
		case nodes[i].key == key:
			return nil
		case other == nil:
			other = &nodes[i]
		}
	}
	if other == nil {
		return fmt.Errorf("%w: it answers with %s, and is not in %s", ErrUnknownNode, key.Fingerprint(), n.Path)
	}
	return fmt.Errorf("%w: it answers with %s, but %s:%d has %s: someone may be answering in its place; "+
		"if it really has a new key, remove that line",
		ErrNodeChanged, key.Fingerprint(), n.Path, other.line, other.key.Fingerprint())
}

// load returns what the file says now.
func (n *KnownNodes) load() ([]node, error) {
	text, err := readList(n.Path)
	if err != nil {
		return nil, err
	}
	return parseNodes(text, n.Path)
}

// A node is one line of known_nodes.
type node struct {
	address string
	key     PublicKey
	line    int
}

// parseNodes reads all lines of a file.
func parseNodes(text []byte, path string) ([]node, error) {
	var nodes []node
	for number, line := range entries(text) {
		node, err := parseNode(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		node.line = number
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// parseNode reads one line.
func parseNode(line string) (node, error) {
	if err := checkText(line); err != nil {
		return node{}, err
	}
	word, rest := cutWord(line)
	address, err := cleanAddress(word)
	if err != nil {
		return node{}, err
	}
	key, _, err := parsePublicKey(rest)
	return node{address: address, key: key}, err
}

// cleanAddress gives all spellings of an address the same one, and refuses
// what could not stand in a line.
func cleanAddress(address string) (string, error) {
	if strings.ContainsAny(address, " \t\n\r#") || checkText(address) != nil {
		return "", fmt.Errorf("%q is not the address of a node", shorten(address))
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok && path != "" {
		return address, nil
	}
	name, port, err := net.SplitHostPort(address)
	if err != nil || name == "" || port == "" {
		return "", fmt.Errorf("%q is not the address of a node: host:port, or unix:/path", shorten(address))
	}
	name = strings.ToLower(name)
	if ip, err := netip.ParseAddr(name); err == nil {
		name = ip.Unmap().String()
	}
	return net.JoinHostPort(name, port), nil
}
