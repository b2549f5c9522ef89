package node_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/afar-go/afar/node"
	"github.com/afar-go/afar/trust"
)

// regrant changes the caller's line in authorized_keys.
func (s *site) regrant(options string) {
	s.t.Helper()
	grant, err := trust.ParseGrant(options + " " + s.callerKey.Public().String())
	must(s.t, err)
	must(s.t, s.authorized.Replace(grant))
}

// A grant that was changed counts for what is started and asked from then on, whether the
// connection is new or was there before.
func TestChangedGrant(t *testing.T) {
	s := newSite(t, "workers=1,memory=512MiB", func(c *node.Config) { c.NoControlGroups = true })
	pool := s.open("?workers=1")
	place, _ := s.place(t)
	before, err := look.On(pool)(within(t), 0)
	must(t, err)
	goal := func(mebibytes int) string { return fmt.Sprintf("GOMEMLIMIT=%d", mebibytes<<20/10*9) }
	if !slices.Contains(before.Env, goal(512)) {
		t.Errorf("the first worker's environment is %q", before.Env)
	}
	s.regrant("workers=3,memory=256MiB")

	status, err := place.Status(within(t))
	must(t, err)
	contains(t, strings.Join(status.Limits, "\n"), "3 workers", "256 MiB of memory")
	more := s.open("?workers=2") // beside the first
	s.log.wait(t, 1, "caller in", "3 workers", "256 MiB")
	for _, g := range more.Gateways() {
		at, err := look.On(g)(within(t), 0)
		must(t, err)
		if !slices.Contains(at.Env, goal(256)) {
			t.Errorf("a worker of a new connection has the environment %q", at.Env)
		}
		var limit unix.Rlimit
		must(t, unix.Prlimit(at.PID, unix.RLIMIT_AS, nil, &limit))
		if limit.Max > 2<<30 { // 256 MiB, and what a Go program has at its start
			t.Errorf("a worker of a new connection may have %d bytes", limit.Max)
		}
	}
	must(t, syscall.Kill(before.PID, syscall.SIGKILL))
	after, err := look.On(pool)(within(t), 0) // another, over the first connection
	must(t, err)
	if after.PID == before.PID || !slices.Contains(after.Env, goal(256)) {
		t.Errorf("a worker of an old connection has the environment %q", after.Env)
	}
	contains(t, s.refused("?workers=1"), "3 workers are the most")
}

// A caller that is revoked while it is connected brings nothing more.
func TestRevokedBringsNothing(t *testing.T) {
	s := newSite(t, "")
	place, _ := s.place(t)
	must(t, bring(t, place, 1))
	must(t, s.authorized.Revoke(s.callerKey.Public()))
	if err := bring(t, place, 2); err == nil {
		t.Error("it was taken")
	} else {
		contains(t, err.Error(), "may bring nothing more", "revoked")
	}
	s.log.wait(t, 1, "image not kept", "revoked")
	if _, err := place.Status(within(t)); err != nil {
		t.Errorf("the connection does not go on: %v", err)
	}
}

// A caller with too many connections is told so, whatever it asks for.
func TestTooManyConnections(t *testing.T) {
	s := newSite(t, "")
	var links []net.Conn
	for range 256 {
		links = append(links, s.enter(t))
	}
	s.log.wait(t, 256, "caller in")
	place, _ := s.place(t)
	if _, err := place.Status(within(t)); err == nil {
		t.Error("one too many is served")
	} else {
		contains(t, err.Error(), "256 connections are the most that a caller may have")
	}
	contains(t, s.refused("?workers=1"), "256 connections are the most that a caller may have")
	must(t, links[0].Close())
	s.log.wait(t, 1, "caller out")
	place, _ = s.place(t)
	_, err := place.Status(within(t))
	must(t, err)
}

// Numbers that mean nothing are refused, not taken for no limit.
func TestNegativeNumbers(t *testing.T) {
	for name, set := range map[string]func(*node.Config){
		"MaxWorkers is -1":        func(c *node.Config) { c.MaxWorkers = -1 },
		"MaxImage is -2":          func(c *node.Config) { c.MaxImage = -2 },
		"MaxImages is -3":         func(c *node.Config) { c.MaxImages = -3 },
		"MaxHandshakes is -4":     func(c *node.Config) { c.MaxHandshakes = -4 },
		"HandshakeTimeout is -5s": func(c *node.Config) { c.HandshakeTimeout = -5 * time.Second },
	} {
		config := node.Config{Dir: t.TempDir()}
		set(&config)
		n, err := node.Open(config)
		if err == nil {
			must(t, n.Close())
			t.Errorf("%s, and it was opened", name)
			continue
		}
		contains(t, err.Error(), name)
	}
}
