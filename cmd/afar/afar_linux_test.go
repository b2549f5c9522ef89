package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/afar-go/afar/internal/hosttest"
	"github.com/afar-go/afar/trust"
)

// Exit codes are what --help says.
func TestExitCodes(t *testing.T) {
	home(t)
	for _, c := range []struct {
		line string
		code int
		says string // on the standard error, or in help on the output
	}{
		{"version", exitOK, "afar "},
		{"--help", exitOK, "Exit codes:"},
		{"node --help", exitOK, "SIGTERM"},
		{"run -help", exitOK, "afar run --on"},
		{"", exitUsage, "needs a command"},
		{"fly", exitUsage, `unknown command "fly"`},
		{"key fly", exitUsage, `unknown command "fly"`},
		{"key", exitUsage, "needs a command"},
		{"version now", exitUsage, "too many"},
		{"node -fly", exitUsage, "fly"},
		{"node -drain soon", exitUsage, "soon"},
		{"ping", exitUsage, "needs a target"},
		{"ping nowhere", exitUsage, "unknown scheme"},
		{"ping -n 0 inproc:1", exitUsage, "at least 1"},
		{"run", exitUsage, "needs a package"},
		{"run -on local:2 .", exitUsage, "not on 2 workers"},
		{"run -on local:1 .", exitUsage, "leave --on out"},
		{"key authorize", exitUsage, "needs a key"},
		{"key authorize -workers some afar-ed25519 x", exitUsage, "some"},
		{"key authorize foo", exitUsage, `"foo" is neither a key`},
		{"key authorize workers=3 foo", exitUsage, `"foo" is neither a key`},
		{"key authorize --memory 64 afar-ed25519 x", exitUsage, "512MiB"},
		{"key authorize --help", exitOK, "--replace"},
		{"key revoke foo", exitUsage, `"foo" is neither a key`},
		{"key trust", exitUsage, "needs the address"},
		{"run ./typo", exitFailed, "there is no package ./typo here"},
		{"run no/such/package", exitFailed, "package no/such/package was not found, or did not build"},
		{"key show", exitFailed, "no such file"},
		{"key revoke SHA256:x", exitFailed, "is not in"},
		{"node", exitFailed, "afar key new"},
		{"ping unix:/nowhere", exitUnreachable, "afar: unix:/nowhere: connection refused: no such file or directory\n"},
		{"ping tcp://127.0.0.1:1", exitUnreachable, "afar: tcp://127.0.0.1:1: connection refused\n"},
		{"run -on tcp://127.0.0.1:1 .", exitUnreachable, "afar: tcp://127.0.0.1:1: connection refused\n"},
		{"key trust 127.0.0.1:1", exitUnreachable, "afar: 127.0.0.1:1: connection refused\n"},
	} {
		s := typed("", strings.Fields(c.line)...)
		if s.code != c.code {
			t.Errorf("afar %s: exit code %d, want %d: %s", c.line, s.code, c.code, s.errs)
		}
		contains(t, s.out+s.errs, c.says)
	}
}

// The command completes itself in shells.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "pwsh"} {
		if s := typed("", "completion", shell); s.code != 0 || !strings.Contains(s.out, "generate-shell-completion") {
			t.Errorf("completion %s: %+v", shell, s)
		}
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

// Ping says how targets of several kinds are.
func TestPing(t *testing.T) {
	d := startNode(t)
	s := typed("", "ping", "-json", "-n", "3", d.target, "inproc:1", "tcp://127.0.0.1:1")
	if s.code != exitUnreachable {
		t.Errorf("exit code %d: %s", s.code, s.errs)
	}
	var all []pinged
	for line := range strings.Lines(s.out) {
		var p pinged
		must(t, json.Unmarshal([]byte(line), &p))
		all = append(all, p)
	}
	if len(all) != 3 || all[0].Trips != 3 || all[0].Min <= 0 || all[0].Min > all[0].Avg || all[0].Avg > all[0].Max ||
		all[0].Go == "" || all[0].Processors == 0 || len(all[0].Load) != 3 || !strings.HasPrefix(all[0].Program, "afar ") {
		t.Fatalf("ping says %+v", all)
	}
	if all[1].Trips != 3 || all[2].Trips != 0 || all[2].Reason != "connection refused" {
		t.Errorf("ping says %+v", all[1:])
	}
	contains(t, typed("", "ping", d.target).out, "5 round trips", "processors", "load", "0 workers")
}

// A program that is run elsewhere reads, writes and ends as here.
func TestRun(t *testing.T) {
	d := startNode(t)
	input := bytes.Repeat([]byte("0123456789abcde\n"), 100_000)
	for _, on := range []string{d.target + "?env.A=b", "exec:sh?env.A=b", ""} {
		args := []string{"run", "-on", on, ".", "--", "copy"}
		if on == "" {
			args = []string{"run", ".", "copy"}
		}
		s := start(t, bytes.NewReader(input), args...).end()
		if s.code != 7 || s.out != string(input) {
			t.Errorf("on %q: exit code %d, %d bytes: %s", on, s.code, len(s.out), s.errs)
		}
		contains(t, s.errs, fmt.Sprint(len(input), " <nil>"))
		if on != "" {
			contains(t, s.errs, "<nil> b")
		}
	}
	d.wait("program ended", "exit status 7")
	if s := start(t, nil, "run", "-on", d.target, ".", "die").end(); s.code != 128+int(syscall.SIGKILL) {
		t.Errorf("after a signal: %+v", s)
	}
	if s := start(t, nil, "run", "-on", d.target, "./nothing").end(); s.code != exitFailed {
		t.Errorf("a package that is not there: %+v", s)
	}
}

// What is damaged in the caller's caches hurts nobody.
func TestDamagedCaches(t *testing.T) {
	d := startNode(t)
	caches := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "afar")
	program := func(on string) {
		t.Helper()
		args := []string{"run", ".", "copy"}
		if on != "" {
			args = []string{"run", "--on", on, ".", "copy"}
		}
		s := start(t, strings.NewReader("text"), args...).end()
		if s.code != 7 || s.out != "text" {
			t.Errorf("on %q: %+v", on, s)
		}
	}
	// each does something with every file that the pattern stands for.
	each := func(do func(path string) error, pattern ...string) {
		t.Helper()
		paths, err := filepath.Glob(filepath.Join(pattern...))
		must(t, err)
		if len(paths) == 0 {
			t.Fatalf("there is no %s", pattern)
		}
		for _, path := range paths {
			must(t, do(path))
		}
	}
	truncate := func(path string) error { return os.Truncate(path, 100_000) }
	script := func(path string) error { return os.WriteFile(path, []byte("#!/bin/sh\necho evil\n"), 0o700) }
	locked := func(path string) error { return os.Chmod(path, 0o600) }
	program("")
	for _, damage := range []func(string) error{truncate, script, locked} {
		each(damage, caches, "run", "*")
		program("")
	}
	node := filepath.Join(caches, "..", "..", "node", "images")
	for on, images := range map[string]string{d.target: node, "exec:sh": filepath.Join(caches, "images")} {
		program(on)
		each(overwrite, caches, "gzip", "*.gz")
		each(os.Remove, images, strings.Repeat("[0-9a-f]", 64))
		program(on)
	}
}

// overwrite changes 10 kB in the middle of a file.
func overwrite(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for i := range 10_000 {
		data[len(data)/2+i] ^= 0x55
	}
	return os.WriteFile(path, data, 0o600)
}

// Signals go to the program.
func TestRunSignal(t *testing.T) {
	d := startNode(t)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1} {
		o := start(t, nil, "run", "--on="+d.target, ".", "signal")
		if line := o.line(); line != "ready" {
			t.Fatal(line)
		}
		must(t, o.cmd.Process.Signal(s))
		if end := o.end(); end.code != 9 || strings.TrimSpace(end.out) != s.String() {
			t.Errorf("after %v: %+v", s, end)
		}
	}
}

// waiting starts a program that waits, with a child.
func (d *daemon) waiting(on string) (o *other, gone []func()) {
	d.t.Helper()
	o = start(d.t, nil, "run", "-on", on, ".", "wait")
	var pid, child int
	if _, err := fmt.Sscan(o.line(), &pid, &child); err != nil {
		d.t.Fatal(err)
	}
	return o, []func(){hosttest.Watch(d.t, pid), hosttest.Watch(d.t, child)}
}

// Nothing is left of a program whose afar run was killed, on a node or elsewhere.
func TestRunKilled(t *testing.T) {
	d := startNode(t)
	for _, on := range []string{d.target, "exec:sh"} {
		o, gone := d.waiting(on)
		must(t, o.cmd.Process.Kill())
		_ = o.end()
		for _, wait := range gone {
			wait()
		}
	}
	d.wait("caller out")
}

// SIGTERM drains a node: what runs may end.
func TestDrain(t *testing.T) {
	d := startNode(t, "-drain", "1h")
	o := start(t, nil, "run", "-on", d.target, ".", "signal")
	if line := o.line(); line != "ready" {
		t.Fatal(line)
	}
	d.signal(syscall.SIGTERM)
	d.wait("draining")
	if s := typed("", "ping", d.target); s.code != exitUnreachable {
		t.Errorf("a node that drains lets others in: %+v", s)
	}
	must(t, o.cmd.Process.Signal(syscall.SIGINT))
	if end := o.end(); end.code != 9 {
		t.Errorf("the program ended with %+v", end)
	}
	if code := d.exit(); code != 0 {
		t.Errorf("the node ended with %d", code)
	}
}

// The second SIGTERM ends everything.
func TestSecondSignal(t *testing.T) {
	d := startNode(t, "-drain", "1h")
	o, gone := d.waiting(d.target)
	d.signal(syscall.SIGTERM)
	d.wait("draining")
	d.signal(syscall.SIGTERM)
	for _, wait := range gone {
		wait()
	}
	if code := d.exit(); code != 0 {
		t.Errorf("the node ended with %d", code)
	}
	if end := o.end(); end.code == 0 {
		t.Errorf("the program ended with %+v", end)
	}
}

// A node that is killed takes its programs along, and the next one begins anew.
func TestNodeKilled(t *testing.T) {
	d := startNode(t)
	o, gone := d.waiting(d.target)
	d.signal(syscall.SIGKILL)
	d.exit()
	gone[0]()
	if end := o.end(); end.code != exitUnreachable {
		t.Errorf("afar run ended with %+v", end)
	}
	// The kernel ends children only; those of a program are for the next node, which finds them in its control group.
	program, _ := build(t)
	dir := filepath.Dir(os.Getenv(trust.KeyVariable))
	cmd := exec.Command(program, "node", "--listen", "127.0.0.1:0", "--key", filepath.Join(dir, "node.key"), "--dir", filepath.Join(dir, "node"))
	errs, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	next := &daemon{t: t, cmd: cmd, more: make(chan struct{}), over: make(chan struct{})}
	go next.read(errs)
	next.wait("listening")
	if groups := next.first("no control groups"); groups != "" {
		t.Log("what a program's child does is not known: ", groups)
	} else {
		gone[1]()
	}
	next.signal(syscall.SIGTERM)
	if code := next.exit(); code != 0 {
		t.Errorf("the next node ended with %d", code)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "node", "callers")); !os.IsNotExist(err) {
		t.Errorf("left behind: %v %v", left, err)
	}
}
