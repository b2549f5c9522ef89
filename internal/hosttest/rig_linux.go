package hosttest

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// RequireVariable, when it is 1, turns tests that have to be skipped for want of hosts into failures.
const RequireVariable = "REQUIRE_HOSTS"

// Missing says why there can be no hosts on this machine, if so.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("hosttest: hosts in namespaces need root")
	}
	for _, name := range []string{"bash", "ip", "nsenter", "ssh", "ssh-keygen", "/usr/sbin/sshd"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("hosttest: %w (Debian: openssh-server, openssh-client, iproute2, util-linux)", err)
		}
	}
	return nil
}

// busyboxPath finds a static busybox.
func busyboxPath() (string, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("%w (Debian: busybox-static)", err)
	}
	f, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%s is not static (Debian: busybox-static)", path)
		}
	}
	return path, nil
}

// New starts n hosts for a test, and ends them after it. Where there can be none, the test is skipped.
func New(t testing.TB, n int) []*Host {
	t.Helper()
	hosts := make([]*Host, n)
	for i := range hosts {
		hosts[i] = NewHost(t, Options{})
	}
	return hosts
}

// NewHost starts a host for a test, and ends it after it. Where there can be none, the test is skipped.
func NewHost(t testing.TB, o Options) *Host {
	t.Helper()
	err := Missing()
	if err == nil && o.Busybox {
		_, err = busyboxPath()
	}
	if err != nil && os.Getenv(RequireVariable) != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	h, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("host %s (%s), processes:\n%slog of its sshd:\n%s", h.name, h.address, h.Describe(), h.Log())
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// Until waits until a condition holds that nobody announces, such as that a process is gone.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not yet: %s", what)
		}
	}
}
