package hosttest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// process is a process of a host, as this machine sees it.
type process struct {
	pid, parent int
	comm        string
	listens     bool // it is the sshd that listens
	session     bool // it is one that serves a connection
}

// list returns the host's processes without the first one.
func (h *Host) list() []process {
	first := h.pid
	net, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", first))
	if err != nil {
		return nil
	}
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var all []process
	listeners := map[int]bool{}
	for _, dir := range entries {
		// A process that has ended and was not waited for has no namespaces any more.
		if at, err := os.Readlink(dir + "/ns/net"); err != nil || at != net {
			continue
		}
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		p := process{}
		p.pid, _ = strconv.Atoi(filepath.Base(dir))
		if p.pid == first {
			continue
		}
		text := string(stat)
		open, end := strings.Index(text, "("), strings.LastIndex(text, ")")
		p.comm = text[open+1 : end]
		var state string
		_, _ = fmt.Sscan(text[end+1:], &state, &p.parent)
		if p.parent == first && p.comm == "sshd" {
			p.listens = !sessionOfDead(dir)
			listeners[p.pid] = p.listens
			p.session = !p.listens
		}
		all = append(all, p)
	}
	for i := range all {
		all[i].session = all[i].session || listeners[all[i].parent]
	}
	return all
}

// sessionOfDead tells a session whose listener was killed from a listener: it has another title.
func sessionOfDead(dir string) bool {
	line, _ := os.ReadFile(dir + "/cmdline")
	return !strings.Contains(string(line), "[listener]") && !strings.Contains(string(line), "-D\x00")
}

// Processes are all processes on the host, as this machine numbers them, but for its first one and the sshd that
// listens: sessions of sshd, and whatever was started over them or by Exec.
func (h *Host) Processes() []int {
	var pids []int
	for _, p := range h.list() {
		if !p.listens {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// Sessions are the processes of sshd that serve a connection each.
func (h *Host) Sessions() []int {
	var pids []int
	for _, p := range h.list() {
		if p.session {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// Halt stops a process, as the host numbers it, and returns when none of its threads runs any more: the signal alone
// leaves a thread on another processor the time to answer somebody.
func (h *Host) Halt(t testing.TB, pid int) {
	t.Helper()
	if out, err := h.Exec("kill", "-STOP", strconv.Itoa(pid)); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	Until(t, fmt.Sprintf("process %d is stopped", pid), func() bool {
		states, err := h.Exec("ps", "-L", "-o", "stat=", "-p", strconv.Itoa(pid))
		for state := range strings.FieldsSeq(states) {
			if !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return err == nil
	})
}

// Describe lists the host's processes for people.
func (h *Host) Describe() string {
	var b strings.Builder
	for _, p := range h.list() {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		fmt.Fprintf(&b, "%d (child of %d) %s: %s\n", p.pid, p.parent, p.comm, strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " ")))
	}
	return b.String()
}
