package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afar-go/afar/trust"
)

// What lets nobody in, or everybody by mistake, is refused.
func TestAuthorizeRefused(t *testing.T) {
	dir := home(t)
	if s := typed("", "key", "new"); s.code != 0 {
		t.Fatal(s.errs)
	}
	key := filepath.Join(dir, "key")
	for _, c := range []struct {
		says string
		args []string
	}{
		{"has expired already, at 2020-01-02T00:00:00Z", []string{"--expires", "2020-01-01", key + ".pub"}},
		{"has expired already", []string{"expires=2020-01-01T00:00:00Z", key + ".pub"}},
		{"afar key revoke", []string{"revoked", key + ".pub"}},
		{`workers=""`, []string{"--workers=", key + ".pub"}},
		{`memory=""`, []string{"--memory", "", key + ".pub"}},
		{`from=""`, []string{"--from", "", key + ".pub"}},
		{`expires=""`, []string{"--expires", "", key + ".pub"}},
		{key + " is the private half of a key; the public one is in " + key + ".pub", []string{key}},
	} {
		s := typed("", append([]string{"key", "authorize"}, c.args...)...)
		contains(t, s.errs, c.says)
		if s.code != exitUsage {
			t.Errorf("%q: %+v", c.args, s)
		}
	}
	if list := typed("", "key", "list"); list.out != "" {
		t.Errorf("somebody may come in: %s", list.out)
	}
	if s := typed("", "key", "authorize", "--expires", "2999-12-31", key+".pub"); s.code != exitOK {
		t.Errorf("%+v", s)
	}
}

// Keys are made, shown, let in and revoked.
func TestKeys(t *testing.T) {
	dir := home(t)
	made := typed("", "key", "new", "-comment", "me@here")
	shown := typed("", "key", "show")
	if made.code != 0 || made != shown {
		t.Fatalf("new says %+v, show says %+v", made, shown)
	}
	again := typed("", "key", "new")
	contains(t, again.errs, "there is a key in "+filepath.Join(dir, "key")+" already", "afar key show")
	if again.code != exitFailed {
		t.Errorf("a second key: %+v", again)
	}
	public, print, _ := strings.Cut(strings.TrimSpace(made.out), "\n")
	args := append([]string{"key", "authorize", "-workers", "2", "--memory=2GiB", "-from", "10.0.0.0/8,unix"}, strings.Fields(public)...)
	if s := typed("", args...); s.code != 0 {
		t.Fatal(s.errs)
	}
	if s := typed("", "key", "authorize", filepath.Join(dir, "key.pub")); s.code != exitFailed {
		t.Errorf("authorised twice: %+v", s)
	}
	known := &trust.KnownNodes{Path: filepath.Join(dir, "known_nodes")}
	key, err := trust.LoadKey(filepath.Join(dir, "key"))
	must(t, err)
	must(t, known.Add("node:7227", key.Public()))
	contains(t, typed("", "key", "list").out, "caller", print, "me@here", `workers=2,memory="2GiB"`, "node:7227")
	if s := typed("", "key", "revoke", print); s.code != 0 {
		t.Fatal(s.errs)
	}
	var list []listed
	must(t, json.Unmarshal([]byte(typed("", "key", "list", "-json").out), &list))
	if len(list) != 2 || !list[0].Revoked || list[0].Workers != 2 || list[0].Fingerprint != print || list[1].Address != "node:7227" {
		t.Errorf("list says %+v", list)
	}
}

// A public half without its private one is not overwritten, and nothing is made.
func TestPublicKeyAlone(t *testing.T) {
	dir := home(t)
	pub := filepath.Join(dir, "key.pub")
	must(t, os.WriteFile(pub, []byte("somebody's"), 0o600))
	s := typed("", "key", "new")
	contains(t, s.errs, pub+" is there without its private half", "move it away")
	if text, err := os.ReadFile(pub); s.code != exitFailed || err != nil || string(text) != "somebody's" {
		t.Errorf("%+v, %q, %v", s, text, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "key")); !os.IsNotExist(err) {
		t.Errorf("a private half was made: %v", err)
	}
}

// What a key may do is changed, and a revoked one let in again, by --replace.
func TestReplace(t *testing.T) {
	dir := home(t)
	must(t, os.WriteFile(filepath.Join(dir, "authorized_keys"), nil, 0o600))
	if s := typed("", "key", "new", "--comment", "me@here"); s.code != 0 {
		t.Fatal(s.errs)
	}
	pub, at := filepath.Join(dir, "key.pub"), filepath.Join(dir, "authorized_keys")+":1"
	for _, step := range []struct{ line, refused, options string }{
		{"authorize workers=8 " + pub, "", "workers=8"},
		{"authorize --workers 4 " + pub, at + "): the key is authorised already; afar key authorize --replace", "workers=8"},
		{"authorize --replace memory=2GiB workers=3 " + pub, "", `workers=3,memory="2GiB"`},
		{"revoke " + pub, "", `revoked,workers=3,memory="2GiB"`},
		{"authorize " + pub, at + "): the key is revoked; afar key authorize --replace", `revoked,workers=3,memory="2GiB"`},
		{"authorize --replace --workers 5 from=10.0.0.1 " + pub, "", `workers=5,from="10.0.0.1"`},
	} {
		s := typed("", append([]string{"key"}, strings.Fields(step.line)...)...)
		if (s.code != 0) != (step.refused != "") || !strings.Contains(s.errs, step.refused) {
			t.Errorf("%s: %+v", step.line, s)
		}
		if list := typed("", "key", "list").out; !strings.HasSuffix(list, "  me@here  "+step.options+"\n") {
			t.Errorf("%s: the list is %s", step.line, list)
		}
	}
	key := strings.Fields(typed("", "key", "show").out)
	for _, words := range [][]string{
		{"workers=2", "memory=1GiB", key[0], key[1]},
		{"workers=2 memory=1GiB " + key[0] + " " + key[1]},
		{`workers=2,memory="1 GiB" ` + key[0] + " " + key[1] + " with a=comment"},
	} {
		s := typed("", append([]string{"key", "authorize", "--replace"}, words...)...)
		contains(t, s.errs+typed("", "key", "list").out, `workers=2,memory="1GiB"`)
	}
}

// A node is known when its owner's user says so.
func TestTrust(t *testing.T) {
	d := startNode(t)
	dir := os.Getenv("XDG_CONFIG_HOME")
	known := filepath.Join(dir, "other_nodes")
	t.Setenv(trust.KnownNodesVariable, known)
	asked := typed("no\n", "key", "trust", d.address)
	print := strings.Fields(typed("", "key", "show", "-key", filepath.Join(filepath.Dir(dir), "node.key")).out)
	if asked.code != exitFailed {
		t.Errorf("it is trusted after no: %+v", asked)
	}
	contains(t, asked.errs, print[len(print)-1])
	contains(t, typed("", "key", "trust", d.address).errs, "nobody answered", "--yes", "afar key trust "+d.address+" "+print[len(print)-1])
	if s := typed("", "key", "trust", d.address, "SHA256:other"); s.code != exitFailed {
		t.Errorf("it is trusted with another fingerprint: %+v", s)
	}
	contains(t, typed("", "ping", d.target).errs, "not known", "afar key trust")
	if s := typed("", "key", "trust", d.address, print[len(print)-1]); s.code != exitOK {
		t.Errorf("it is not trusted: %+v", s)
	}
	if s := typed("", "ping", d.target); s.code != exitOK {
		t.Errorf("it is not within reach: %+v", s)
	}
	must(t, os.Remove(known))
	other, err := trust.NewKey("")
	must(t, err)
	must(t, (&trust.KnownNodes{Path: known}).Add(d.address, other.Public()))
	changed := typed("yes\n", "key", "trust", d.address)
	contains(t, changed.errs, "THE NODE'S KEY HAS CHANGED", known+":1")
	if changed.code != exitFailed || strings.Contains(changed.errs, "[yes/no]") {
		t.Errorf("it asks about a key that has changed: %+v", changed)
	}
	ping := typed("", "ping", d.target)
	contains(t, ping.errs, "THE NODE'S KEY HAS CHANGED")
	if n := strings.Count(ping.errs, d.address); n != 1 {
		t.Errorf("the target is named %d times: %s", n, ping.errs)
	}
	d.wait("refused", "the caller did not accept the node's key")
	must(t, os.Remove(known))
	if s := typed("yes\n", "key", "trust", d.target); s.code != exitOK {
		t.Errorf("it is not trusted: %+v", s)
	}
}
