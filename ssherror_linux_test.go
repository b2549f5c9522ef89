package afar_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/hosttest"
)

// refused checks that a target cannot be opened, for one of some reasons.
func refused(t testing.TB, c afar.Config, target string, reasons ...string) *afar.TargetError {
	t.Helper()
	if c.StartTimeout == 0 {
		c.StartTimeout = patience
	}
	pool, err := c.Open(within(t), target)
	if err == nil {
		_ = pool.Close()
		t.Fatalf("%s is accepted", target)
	}
	var e *afar.TargetError
	if !errors.As(err, &e) {
		t.Fatalf("no TargetError: %v", err)
	}
	if !slices.Contains(reasons, e.Reason) || e.Target != target || !strings.Contains(err.Error(), target) || !strings.Contains(err.Error(), e.Reason) {
		t.Errorf("reason %q, want one of %q:\n%v", e.Reason, reasons, err)
	}
	return e
}

// tells checks that an error gives more than the reason.
func tells(t testing.TB, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("nothing of %q in %v", w, err)
		}
	}
}

// What is wrong with a host is told apart.
func TestSSHErrors(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]

	tells(t, refused(t, c, "ssh://nowhere.invalid?workers=1&config="+h.Config(), "no such host"), "nowhere.invalid")

	do(t, h.StopSSH())
	refused(t, c, h.Target("workers=1"), "connection refused")
	do(t, h.StartSSH())
	pool := openWith(t, c, h.Target("workers=1"))
	at(t, pool, h)

	do(t, h.Ban())
	tells(t, refused(t, c, h.Target("workers=1"), "authentication failed"), "publickey")

	do(t, h.NewKey())
	do(t, h.StopSSH())
	do(t, h.StartSSH())
	refused(t, c, h.Target("workers=1"), "host key not accepted")
	// The pool that was open has lost its worker, and gives up at once: this does not pass by itself.
	hosttest.Until(t, "the gateway gives up", func() bool {
		s, _ := pool.Gateways()[0].Status(within(t))
		return s.State == afar.StateCrashLoop
	})
	var e *afar.TargetError
	if _, err := square.On(pool)(within(t), 2); !errors.As(err, &e) || e.Reason != "host key not accepted" {
		t.Errorf("a call ends with %v", err)
	}
}

// An error says once what it is about.
func TestSSHErrorText(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	do(t, h.StopSSH())
	target := h.Target("workers=1")
	err := refused(t, c, target, "connection refused")
	if text := err.Error(); strings.Count(text, target) != 1 || strings.Count(text, "afar: ") != 1 || strings.Count(text, "onnection refused") > 2 {
		t.Error(text)
	}
}

// A host that has no shell, no room or no system that anybody knows says so.
func TestSSHUnfitHosts(t *testing.T) {
	c := abroad(t)
	h := hosttest.NewHost(t, hosttest.Options{Shell: "/usr/sbin/nologin"})
	refused(t, c, h.Target("workers=1"), "no shell")
	alone(t, true, h)

	h = hosttest.NewHost(t, hosttest.Options{Space: 1 << 20})
	refused(t, c, h.Target("workers=1"), "no space")
	alone(t, true, h)
	if left, err := h.Exec("sh", "-c", "find /root /tmp /var/tmp /dev/shm -type f -size +64k"); err != nil || left != "" {
		t.Errorf("left: %s, %v", left, err)
	}

	h = hosttest.NewHost(t, hosttest.Options{System: "Plan10 cray"})
	tells(t, refused(t, c, h.Target("workers=1"), "no program for its architecture"), "Plan10")
	alone(t, true, h)
}

// A host of another architecture, for which there is no program, or a wrong one, is refused before anything travels.
func TestSSHWrongArchitecture(t *testing.T) {
	c := abroad(t)
	h := hosttest.NewHost(t, hosttest.Options{System: "Linux riscv64"})
	c.Images = map[string]string{"linux/riscv64": os.Getenv(imageVariable)}
	before := h.Received()
	tells(t, refused(t, c, h.Target("workers=1"), "no program for its architecture"), "riscv64", "amd64")
	if n := h.Received() - before; n > 100_000 {
		t.Errorf("%d bytes travelled", n)
	}
	alone(t, true, h)
}

// A program that does not call Main is told from one that does, and from one that is not there.
func TestSSHProgramWithoutMain(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	do(t, os.WriteFile(source, []byte("package main\n\nfunc main() { println(\"what am I for?\"); select {} }\n"), 0o600))
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "program"), source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	for system := range c.Images {
		c.Images[system] = filepath.Join(dir, "program")
	}
	// All goroutines are asleep in it: it ends.
	tells(t, refused(t, c, h.Target("workers=1"), "the program did not start"), "afar.Main", "what am I for?")
	alone(t, true, h)
}
