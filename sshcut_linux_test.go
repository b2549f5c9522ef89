package afar_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/hosttest"
)

// A pool can be closed whatever state the way to its hosts is in.
func TestSSHCloseWhileCut(t *testing.T) {
	for name, lose := range map[string]func(*hosttest.Host) error{
		"cable": (*hosttest.Host).Down, "mute": (*hosttest.Host).Mute, "deaf": (*hosttest.Host).Deafen, "no sshd": (*hosttest.Host).StopSSH,
	} {
		for when, wait := range map[string]bool{"at once": false, "when it is known": true} {
			t.Run(name+" "+when, func(t *testing.T) {
				c := abroad(t)
				h := hosttest.New(t, 1)[0]
				pool := openWith(t, c, h.Target("workers=2"))
				at(t, pool, h)
				do(t, lose(h))
				if wait {
					hosttest.Until(t, "the loss is known", func() bool {
						s, _ := pool.Gateways()[0].Status(within(t))
						return s.PID == 0
					})
				}
				do(t, pool.Close())
				alone(t, false, h)
			})
		}
	}
}

// A caller that was stopped for a while finds that its workers are gone, and gets others.
func TestSSHStoppedCaller(t *testing.T) {
	abroad(t)
	h := hosttest.New(t, 1)[0]
	c := startCaller(t, "persistent", h.Target("workers=2"))
	for range 2 {
		if line := c.says(t); line != h.Name()+" <nil>" {
			t.Fatal(line)
		}
		do(t, c.cmd.Process.Signal(syscall.SIGSTOP))
		alone(t, false, h) // ssh goes on, so its session may stay
		do(t, c.cmd.Process.Signal(syscall.SIGCONT))
		_, err := c.in.Write([]byte("again\n"))
		do(t, err)
	}
	if line := c.says(t); line != h.Name()+" <nil>" {
		t.Fatal(line)
	}
	do(t, c.in.Close())
	do(t, c.cmd.Wait())
	alone(t, true, h)
}

// Noise of a login shell is not taken for anything else.
func TestSSHNoise(t *testing.T) {
	c := abroad(t)
	for name, noise := range map[string]string{
		"words":     "echo Welcome to this host; echo 'AFAR1 is a name'; echo >&2 beware; printf 'no end'",
		"much":      "head -c 300000 /dev/zero | tr '\\0' x; echo",
		"binary":    "head -c 3000 /bin/sh",
		"language":  "export LC_ALL=C.UTF-8 LANG=de_DE.UTF-8 TERM=dumb afar_h=x afar_d=/nowhere IFS=/ ; set -e",
		"caches":    "export XDG_CACHE_HOME=relative/path TMPDIR=/nowhere",
		"elsewhere": "cd /proc/self; umask 777; ulimit -c 0; alias mkdir=false head=false; trap 'echo bye' EXIT; HOME=/",
	} {
		t.Run(name, func(t *testing.T) {
			h := hosttest.New(t, 1)[0]
			do(t, os.WriteFile(h.Path("/root/.bashrc"), []byte(noise+"\n"), 0o600))
			for range 2 {
				pool := openWith(t, c, h.Target("workers=2"))
				at(t, pool, h)
				do(t, pool.Close())
			}
			alone(t, true, h)
		})
	}
}

// arriving waits until a part of the program has arrived at a host.
func arriving(t testing.TB, h *hosttest.Host) {
	t.Helper()
	hosttest.Until(t, "the program is on its way", func() bool { return h.Received() > 300_000 })
}

// An upload that is cut off, or that somebody ends, leaves nothing that keeps the next caller out.
func TestSSHUploadEnds(t *testing.T) {
	for name, way := range map[string]struct{ lose, find func(*hosttest.Host) error }{
		"cable":   {(*hosttest.Host).Down, (*hosttest.Host).Up},
		"no sshd": {(*hosttest.Host).StopSSH, (*hosttest.Host).StartSSH},
		"cancel":  {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := abroad(t)
			c.StartTimeout = patience
			h := hosttest.New(t, 1)[0]
			if err := h.Throttle(2_000_000); err != nil {
				t.Skip(err)
			}
			ctx, cancel := context.WithCancel(within(t))
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				pool, err := c.Open(ctx, h.Target("workers=1"))
				if err == nil {
					_ = pool.Close()
				}
				ended <- err
			}()
			arriving(t, h)
			if way.lose != nil {
				do(t, way.lose(h))
			}
			cancel()
			if err := receive(t, ended); err == nil {
				t.Error("all of it has arrived")
			}
			if way.find != nil {
				do(t, way.find(h))
			}
			pool := openWith(t, c, h.Target("workers=1"))
			at(t, pool, h)
			do(t, pool.Close())
			alone(t, true, h)
			if n := len(files(t, h)); n != 1 {
				t.Errorf("%d programs", n)
			}
			left, err := h.Exec("find", "/root/.cache/afar", "/tmp", "-name", "*.lock*")
			if err != nil || left != "" {
				t.Errorf("left: %s, %v", left, err)
			}
		})
	}
}

// Two pools of one program on a host are apart, and a pool may have a host twice.
func TestSSHSameHostTwice(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	one := openWith(t, c, h.Target("workers=2"), h.Target("workers=1", "id=x"))
	two := openWith(t, c, h.Target("workers=2"))
	squares(t, one, 5000, nil)
	squares(t, two, 5000, nil)
	if n := len(h.Sessions()); n > 3 {
		t.Errorf("%d connections", n)
	}
	do(t, one.Close())
	squares(t, two, 5000, nil)
	do(t, two.Close())
	alone(t, true, h)
}

// A worker that crashes again and again does not end the connection that it shares.
func TestSSHWorkerCrashes(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	pool := openWith(t, c, h.Target("workers=2"))
	g := pool.Gateways()
	before := h.Sessions()
	for range 5 {
		at(t, g[0], h)
		do(t, g[0].Kill())
		at(t, g[1], h)
	}
	at(t, g[0], h)
	if s, _ := g[1].Status(within(t)); s.Restarts != 0 {
		t.Errorf("the other: %+v", s)
	}
	_, err := mortal.On(afar.With(g[0], afar.Policy{MaxAttempts: 1}))(within(t), death{Times: 1, Code: 3, Spoken: "my last words"})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "my last words") ||
		!strings.Contains(err.Error(), h.Name()) {
		t.Errorf("how it ended: %v", err)
	}
	at(t, g[0], h)
	if after := h.Sessions(); len(after) != 1 || after[0] != before[0] {
		t.Errorf("connections %v, and before %v", after, before)
	}
	do(t, pool.Close())
	alone(t, true, h)
}
