package trust

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestKnownNodesCheck(t *testing.T) {
	a, b, other := newTestKey(t, "a"), newTestKey(t, "b"), newTestKey(t, "other")
	nodes := KnownNodes{Path: writeFile(t, "known_nodes", strings.Join([]string{
		"# nodes", "",
		"Node:7227 " + a.String(),
		"node:7227 " + b.String(),
		"[2001:DB8::0:1]:7227 " + a.String(),
		"unix:/run/afar/socket " + b.String(),
	}, "\n"))}
	for _, c := range []struct {
		address string
		key     *Key
		want    error
	}{
		{"node:7227", a, nil},
		{"NODE:7227", b, nil},
		{"node:7227", other, ErrNodeChanged},
		{"node:7228", a, ErrUnknownNode},
		{"[2001:db8::1]:7227", a, nil},
		{"[2001:db8:0::1]:7227", b, ErrNodeChanged},
		{"unix:/run/afar/socket", b, nil},
		{"unix:/run/afar/other", b, ErrUnknownNode},
	} {
		err := nodes.Check(c.address, c.key.Public(), false)
		if !errors.Is(err, c.want) {
			t.Errorf("%s with %s: %v, want %v", c.address, c.key.Comment(), err, c.want)
		}
	}
	before := readFile(t, nodes.Path)
	err := nodes.Check("node:7227", other.Public(), true) // trusting the first is not trusting another
	if !errors.Is(err, ErrNodeChanged) || readFile(t, nodes.Path) != before {
		t.Errorf("a changed key with trust on first use: %v", err)
	}
	for _, text := range []string{a.Public().Fingerprint(), other.Public().Fingerprint(), nodes.Path + ":3", "CHANGED"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not say %s", err, text)
		}
	}
	keys, err := nodes.Keys()
	if err != nil || len(keys) != 3 || len(keys["node:7227"]) != 2 {
		t.Errorf("%v, %v", keys, err)
	}
}

func TestKnownNodesTrustFirst(t *testing.T) {
	nodes := KnownNodes{Path: filepath.Join(t.TempDir(), "afar", "known_nodes")}
	key, other := newTestKey(t, "key"), newTestKey(t, "other")
	if err := nodes.Check("Node:1", key.Public(), false); !errors.Is(err, ErrUnknownNode) {
		t.Errorf("not asked to trust: %v", err)
	}
	for range 2 {
		if err := nodes.Check("Node:1", key.Public(), true); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := readFile(t, nodes.Path), "node:1 "+key.Public().String()+"\n"; got != want {
		t.Errorf("the file is %q, want %q", got, want)
	}
	if err := nodes.Add("node:1", other.Public()); !errors.Is(err, ErrNodeChanged) {
		t.Errorf("another key is added: %v", err)
	}
	if err := nodes.Add("node:1", key.Public()); err != nil || strings.Count(readFile(t, nodes.Path), "\n") != 1 {
		t.Errorf("the same key is added again: %v\n%s", err, readFile(t, nodes.Path))
	}
	if err := nodes.Forget("NODE:1"); err != nil {
		t.Fatal(err)
	}
	if err := nodes.Forget("node:1"); !errors.Is(err, ErrUnknownNode) {
		t.Errorf("forgotten twice: %v", err)
	}
	if err := nodes.Add("node:1", other.Public()); err != nil {
		t.Error(err)
	}
	if err := nodes.Add("node:2", PublicKey{}); err == nil {
		t.Error("no key is added")
	}
}

// Of two keys that are seen first at once, one is trusted.
func TestKnownNodesTrustOneFirst(t *testing.T) {
	nodes := KnownNodes{Path: filepath.Join(t.TempDir(), "known_nodes")}
	errs := make([]error, 8)
	var all sync.WaitGroup
	for i := range errs {
		key := newTestKey(t, "")
		all.Go(func() { errs[i] = nodes.Check("node:1", key.Public(), true) })
	}
	all.Wait()
	trusted := 0
	for _, err := range errs {
		switch {
		case err == nil:
			trusted++
		case !errors.Is(err, ErrNodeChanged):
			t.Error(err)
		}
	}
	if trusted != 1 || strings.Count(readFile(t, nodes.Path), "\n") != 1 {
		t.Errorf("%d keys are trusted:\n%s", trusted, readFile(t, nodes.Path))
	}
}

func TestKnownNodesErrors(t *testing.T) {
	key := newTestKey(t, "")
	for line, want := range map[string]string{
		"node " + key.String():            ":1: \"node\" is not the address",
		"node: " + key.String():           "is not the address",
		":7227 " + key.String():           "is not the address",
		"unix: " + key.String():           "is not the address",
		"#\nnode:1":                       ":2: a key begins with",
		"node:1 ssh-ed25519 AAAA":         "not with \"ssh-ed25519\"",
		"node:1 " + key.String() + "\x07": "U+0007",
	} {
		nodes := KnownNodes{Path: writeFile(t, "known_nodes", line+"\n")}
		for name, err := range map[string]error{"Check": nodes.Check("other:1", key.Public(), true),
			"Add": nodes.Add("other:1", key.Public()), "Forget": nodes.Forget("other:1")} {
			if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, ErrUnknownNode) {
				t.Errorf("%q: %s: %v, want %q", line, name, err, want)
			}
		}
	}
	nodes := KnownNodes{Path: writeFile(t, "known_nodes", "")}
	for _, address := range []string{"", "node", "a b:1", "a:1\nb:2", "#a:1", "unix:", "unix:/a b"} {
		if err := nodes.Check(address, key.Public(), true); err == nil || errors.Is(err, ErrUnknownNode) {
			t.Errorf("%q: %v", address, err)
		}
	}
	if text := readFile(t, nodes.Path); text != "" {
		t.Errorf("written: %q", text)
	}
}
