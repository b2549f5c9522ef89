package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/afar-go/afar/internal/hosttest"
	"github.com/afar-go/afar/node"
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
		{"node --workers -1", exitUsage, "--workers is at least 0, not -1"},
		{"node --images -1", exitUsage, "--images is at least 0"},
		{"node --max-image -1", exitUsage, "--max-image is at least 0"},
		{"node --listen here", exitUsage, `--listen "here": it is host:port`},
		{"node --listen 127.0.0.1:", exitUsage, "it is host:port"},
		{"node --listen :99999", exitUsage, "it is host:port"},
		{"node --listen=", exitUsage, "it is host:port"},
		{"node --unix=", exitUsage, "--unix needs the path"},
		{"help fly", exitUsage, `unknown command "fly"; see afar --help`},
		{"help ping", exitOK, "round trips"},
		{"key help fly", exitUsage, `unknown command "fly"; see afar key --help`},
		{"completion fly", exitUsage, `unknown command "fly"; see afar completion --help`},
		{"completion", exitUsage, "needs a command"},
		{"ping", exitUsage, "needs a target"},
		{"ping nowhere", exitUsage, "unknown scheme"},
		{"ping -n 0 inproc:1", exitUsage, "at least 1"},
		{"ping --timeout 0 inproc:1", exitUsage, "--timeout is more than 0"},
		{"ping --timeout -1s tcp://127.0.0.1:1", exitUsage, "--timeout is more than 0"},
		{"ping tcp://127.0.0.1:99999", exitUsage, "a port is a number"},
		{"ping local:1?dir=/missing", exitFailed, "afar: local:1?dir=/missing: start worker local-1"},
		{"run", exitUsage, "needs a package"},
		{"run --timeout 0 .", exitUsage, "--timeout is more than 0"},
		{"run --on= .", exitUsage, `target "": unknown scheme`},
		{"run -on local:2 .", exitUsage, "not on 2 workers"},
		{"run -on local:1 .", exitUsage, "leave --on out"},
		{"key authorize", exitUsage, "needs a key"},
		{"key authorize -workers some afar-ed25519 x", exitUsage, "some"},
		{"key authorize foo", exitUsage, `"foo" is neither a key`},
		{"key authorize workers=3 foo", exitUsage, `"foo" is neither a key`},
		{"key authorize --memory 64 afar-ed25519 x", exitUsage, "512MiB"},
		{"key authorize --help", exitOK, "--replace"},
		{"key authorize SHA256:x", exitUsage, "SHA256:x is a fingerprint: the whole key is needed"},
		{"key authorize /proc/version /proc/self", exitUsage, "neither a key"},
		{"key authorize /proc/meminfo", exitUsage, "not the file of a public key"},
		{"key authorize /dev/null", exitUsage, "not the file of a public key"},
		{"key revoke foo", exitUsage, `"foo" is neither a key`},
		{"key trust", exitUsage, "needs the address"},
		{"key trust ssh://x", exitUsage, `"ssh://x" is not the address of a node`},
		{"key trust unix:/x", exitUsage, "not the address of a node"},
		{"key trust host:", exitUsage, "not the address of a node"},
		{"key trust host:x", exitUsage, "not the address of a node"},
		{"key trust :7227", exitUsage, "not the address of a node"},
		{"key trust host:99999", exitUsage, "not the address of a node"},
		{"key trust 127.0.0.1:1 print", exitUsage, `"print" is not a fingerprint`},
		{"run ./typo", exitFailed, "there is no package ./typo here"},
		{"run no/such/package", exitFailed, "package no/such/package was not found, or did not build"},
		{"run fmt", exitFailed, "package fmt was not built: it is not a main package"},
		{"key show", exitFailed, "key: afar key new makes one\n"},
		{"key show --key /nowhere", exitFailed, "there is no key in /nowhere: afar key new --key /nowhere makes one\n"},
		{"key list", exitOK, ""},
		{"key list --json", exitOK, "[]\n"},
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

// A node says when nobody can come in.
func TestNobodyIsLetIn(t *testing.T) {
	dir := home(t)
	file := filepath.Join(dir, "authorized_keys")
	for text, says := range map[string]string{
		"":          "there is no caller's key in " + file,
		"garbage\n": file + ":1:",
	} {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		var log bytes.Buffer
		warn(node.Config{Authorized: file, Log: slog.New(slog.NewTextHandler(&log, nil))})
		contains(t, log.String(), "level=WARN", "nobody is let in", says)
	}
	must(t, os.Remove(file))
	for _, line := range [][]string{{"key", "new"}, {"key", "authorize", filepath.Join(dir, "key.pub")}} {
		if s := typed("", line...); s.code != 0 {
			t.Fatal(s.errs)
		}
	}
	var log bytes.Buffer
	warn(node.Config{Authorized: file, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if log.Len() > 0 {
		t.Error(log.String())
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
