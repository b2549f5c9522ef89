package trust

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// AuthorizedKeys is the file that says whom a node lets in: one [Grant] a line,
// blank lines, and comments that begin with #. A key may be in several lines,
// for instance with other limits from elsewhere: the first line that lets it in
// counts, and one that is marked revoked counts before all others.
//
// The file is read at every call, so what it says is true at once. One that
// does not exist lets nobody in. Neither does one with a line that cannot be
// parsed, one that others can write, or one of more than 1 MiB: every method
// returns an error then that names file and line. Changes keep everything else
// in the file as it is, replace it atomically, and lose no change that another
// process makes at the same time: whoever changes it has the file Path.lock
// meanwhile, and others wait for up to 5 s.
//
// To revoke a key, Revoke it, or Remove it: both refuse it from the next
// handshake on. Revoke leaves a trace, so that the log says that the key was
// revoked, not that it is unknown, and so that it is not let in again by accident.
//
// All methods may be called concurrently. It must not be copied.
type AuthorizedKeys struct {
	// Path is the file; it has no default, see DefaultFiles. It must not be
	// changed after the first call.
	Path string

	mu     sync.Mutex
	text   []byte  // what grants were parsed from
	grants []Grant // shared by nobody: given out as clones
}

// List returns all lines, in their order.
func (a *AuthorizedKeys) List() ([]Grant, error) {
	grants, err := a.load()
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	list := make([]Grant, len(grants))
	for i, g := range grants {
		list[i] = g.clone()
	}
	return list, nil
}

// Lookup returns the grant by which a key is let in from an address at a time.
// If there is none, the error says why, for the log of the node, not for the
// caller: it is ErrUnknownKey, ErrRevoked, ErrExpired or ErrWrongAddress, or
// that the file cannot be used.
func (a *AuthorizedKeys) Lookup(key PublicKey, from net.Addr, now time.Time) (Grant, error) {
	grant, err := a.lookup(key, from, now)
	if err != nil {
		return Grant{}, fmt.Errorf("trust: %w", err)
	}
	return grant, nil
}

// lookup is Lookup for errors of this package, which say trust: themselves.
func (a *AuthorizedKeys) lookup(key PublicKey, from net.Addr, now time.Time) (Grant, error) {
	grants, err := a.load()
	if err != nil {
		return Grant{}, fmt.Errorf("%s: nobody is let in: %w", key.Fingerprint(), err)
	}
	var found *Grant
	reason := a.missing(key)
	for i := len(grants) - 1; i >= 0; i-- { // backwards, so that the first line has the last word
		g := &grants[i]
		if g.Key != key {
			continue
		}
		why := g.check(hostOf(from), now)
		if errors.Is(why, ErrRevoked) {
			return Grant{}, a.refusal(g, why)
		}
		if why == nil {
			found = g
		}
		reason = a.refusal(g, why)
	}
	if found == nil {
		return Grant{}, reason
	}
	return found.clone(), nil
}

// refusal says by which line a key is not let in.
func (a *AuthorizedKeys) refusal(g *Grant, why error) error {
	return fmt.Errorf("%s (%s:%d): %w", g.Key.Fingerprint(), a.Path, g.Line, why)
}

// missing says that a key is in no line.
func (a *AuthorizedKeys) missing(key PublicKey) error {
	return fmt.Errorf("%s: %w: it is not in %s", key.Fingerprint(), ErrUnknownKey, a.Path)
}

// check says why a grant does not let a host in now, or nil.
func (g *Grant) check(h host, now time.Time) error {
	switch {
	case g.Revoked:
		return ErrRevoked
	case !g.Expires.IsZero() && !now.Before(g.Expires):
		return fmt.Errorf("%w: it ended at %s", ErrExpired, g.Expires.Format(time.RFC3339))
	case g.From != nil && !allowed(g.From, h):
		return fmt.Errorf("%w: %q is not in from=%q", ErrWrongAddress, h.text, strings.Join(g.From, ","))
	}
	return nil
}

// Append adds a line for a grant, and makes the file if there is none. A key
// that is in the file already is an ErrAuthorized or ErrRevoked that names the
// line, which Replace replaces: two grants for one key are for people to write,
// who see their order.
func (a *AuthorizedKeys) Append(grant Grant) error {
	line, err := grant.line()
	if err != nil {
		return fmt.Errorf("trust: the grant cannot be written: %w", err)
	}
	return a.change(func(old []byte, grants []Grant) ([]byte, error) {
		for _, g := range grants {
			if g.Key != grant.Key {
				continue
			}
			if g.Revoked {
				return nil, a.refusal(&g, ErrRevoked)
			}
			return nil, a.refusal(&g, ErrAuthorized)
		}
		return appendLine(old, line), nil
	})
}

// Replace puts a line for a grant in the place of the key's first one, and takes
// its others out, revoked ones too: afterwards the key may do what the grant says,
// and nothing else. A key that is not in the file is appended.
func (a *AuthorizedKeys) Replace(grant Grant) error {
	line, err := grant.line()
	if err != nil {
		return fmt.Errorf("trust: the grant cannot be written: %w", err)
	}
	return a.change(func(old []byte, grants []Grant) ([]byte, error) {
		first := slices.IndexFunc(grants, func(g Grant) bool { return g.Key == grant.Key })
		if first < 0 {
			return appendLine(old, line), nil
		}
		return replaceLines(old, grants, grant.Key, func(_ string, g Grant) string {
			if g.Line != grants[first].Line {
				return ""
			}
			return line + "\n"
		}), nil
	})
}

// Remove takes all lines of a key out of the file. A key that is not in it is
// an ErrUnknownKey.
func (a *AuthorizedKeys) Remove(key PublicKey) error {
	return a.edit(key, func(string, Grant) string { return "" })
}

// Revoke marks all lines of a key as revoked. A key that is not in the file is
// an ErrUnknownKey.
func (a *AuthorizedKeys) Revoke(key PublicKey) error {
	return a.edit(key, revokeLine)
}

// edit replaces the lines of a key.
func (a *AuthorizedKeys) edit(key PublicKey, replace func(line string, grant Grant) string) error {
	return a.change(func(old []byte, grants []Grant) ([]byte, error) {
		if !slices.ContainsFunc(grants, func(g Grant) bool { return g.Key == key }) {
			return nil, a.missing(key)
		}
		return replaceLines(old, grants, key, replace), nil
	})
}

// change rewrites the file from what is in it while nobody else changes it.
func (a *AuthorizedKeys) change(edit func(old []byte, grants []Grant) ([]byte, error)) error {
	err := change(a.Path, func(old []byte) ([]byte, error) {
		grants, err := parseGrants(old, a.Path)
		if err != nil {
			return nil, err
		}
		return edit(old, grants)
	})
	if err != nil {
		return fmt.Errorf("trust: %s is not changed: %w", a.Path, err)
	}
	return nil
}

// load returns what the file says now. Comparing its bytes is cheap beside a
// handshake and always right; times and sizes of files are neither unique nor
// safe from those who set them.
func (a *AuthorizedKeys) load() ([]Grant, error) {
	text, err := readList(a.Path)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.grants != nil && bytes.Equal(text, a.text) {
		return a.grants, nil
	}
	grants, err := parseGrants(text, a.Path)
	if err != nil {
		return nil, err
	}
	a.text, a.grants = text, grants
	return grants, nil
}

// parseGrants reads all lines of a file.
func parseGrants(text []byte, path string) ([]Grant, error) {
	grants := []Grant{}
	for number, line := range entries(text) {
		grant, err := parseGrant(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		grant.Line = number
		grants = append(grants, grant)
	}
	return grants, nil
}

// appendLine adds a line at the end, on a line of its own.
func appendLine(text []byte, line string) []byte {
	text = bytes.Clone(text)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return append(append(text, line...), '\n')
}

// replaceLines replaces the lines of a key, each with what ends it, and leaves
// all others as they are.
func replaceLines(old []byte, grants []Grant, key PublicKey, replace func(line string, grant Grant) string) []byte {
	text := make([]byte, 0, len(old))
	number := 0
	for line := range strings.Lines(string(old)) {
		number++
		i := slices.IndexFunc(grants, func(g Grant) bool { return g.Line == number && g.Key == key })
		if i >= 0 {
			line = replace(line, grants[i])
		}
		text = append(text, line...)
	}
	return text
}

// revokeLine puts the option revoked in front of the others.
func revokeLine(line string, grant Grant) string {
	if grant.Revoked {
		return line
	}
	entry := strings.TrimLeftFunc(line, unicode.IsSpace)
	separator := ","
	if word, _ := cutWord(entry); word == keyType {
		separator = " "
	}
	return line[:len(line)-len(entry)] + "revoked" + separator + entry
}
