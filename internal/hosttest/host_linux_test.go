package hosttest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// roleVariable makes the test binary a program that starts a host and then waits to be killed.
const roleVariable = "AFAR_HOSTTEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		h, err := Start(Options{})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(h.Address(), h.pid)
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// ssh runs a command over ssh.
func (h *Host) ssh(config string, line string) (string, error) {
	return command("ssh", "-F", config, "-oBatchMode=yes", "-oConnectTimeout=5", h.Name(), line)
}

func say(t *testing.T, h *Host, line, want string) {
	t.Helper()
	got, err := h.ssh(h.Config(), line)
	if err != nil || strings.TrimSpace(got) != want {
		t.Errorf("%s: %q, %v, want %q", line, got, err, want)
	}
}

// Hosts have names, homes and networks of their own, and one logs in to each.
func TestHostsAreApart(t *testing.T) {
	hosts := New(t, 2)
	for _, h := range hosts {
		say(t, h, "uname -n", h.Name())
		say(t, h, "pwd; echo $HOME", "/root\n/root")
		say(t, h, "echo "+h.Name()+" >mine; ls; ls /tmp | wc -l", "mine\n0")
		data, err := os.ReadFile(h.Path("/root/mine"))
		if err != nil || string(data) != h.Name()+"\n" {
			t.Errorf("%q, %v", data, err)
		}
	}
	if h := hosts[0]; len(h.Sessions()) > 0 {
		Until(t, "the sessions are over", func() bool { return len(h.Sessions()) == 0 })
	}
	if out, err := hosts[0].Exec("ssh", "-oBatchMode=yes", hosts[1].Address(), "true"); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("one host is within reach of another: %s, %v", out, err)
	}
}

// session is a long-lived ssh command that echoes lines.
type session struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func begin(t *testing.T, h *Host, config string) *session {
	t.Helper()
	cmd := exec.Command("ssh", "-F", config, "-oBatchMode=yes", h.Name(), "exec cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &session{cmd, in, bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s.echo(t)
	return s
}

func (s *session) echo(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(s.in, "hello\n"); err != nil {
		t.Fatal(err)
	}
	s.hear(t)
}

func (s *session) hear(t *testing.T) {
	t.Helper()
	if line, err := s.out.ReadString('\n'); err != nil || line != "hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

// heard tells whether a line comes back while a dead way is open, which it does not.
func (s *session) silent(t *testing.T, h *Host) {
	t.Helper()
	if _, err := io.WriteString(s.in, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.DialTimeout("tcp", h.Address()+":22", 300*time.Millisecond); err == nil {
		_ = conn.Close()
		t.Error("one gets through")
	}
	if s.out.Buffered() > 0 {
		t.Error("an answer came through")
	}
}

// What is sent over a dead way arrives when it is alive again.
func TestWays(t *testing.T) {
	h := New(t, 1)[0]
	s := begin(t, h, h.Config())
	for _, way := range []struct {
		name       string
		break_, do func() error
	}{{"cable", h.Down, h.Up}, {"mute", h.Mute, h.Heal}, {"deaf", h.Deafen, h.Heal}} {
		if err := way.break_(); err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		s.silent(t, h)
		if err := way.do(); err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		s.hear(t)
		say(t, h, "echo again", "again")
	}
}

// StopSSH ends the sessions and refuses new ones; StartSSH lets them in again.
func TestSSHStops(t *testing.T) {
	h := New(t, 1)[0]
	s := begin(t, h, h.Config())
	if n := len(h.Sessions()); n != 1 {
		t.Errorf("%d sessions\n%s", n, h.Describe())
	}
	if n := len(h.Processes()); n != 2 { // the session and cat
		t.Errorf("%d processes\n%s", n, h.Describe())
	}
	if err := h.StopSSH(); err != nil {
		t.Fatal(err)
	}
	if line, err := s.out.ReadString('\n'); err != io.EOF {
		t.Errorf("%q, %v", line, err)
	}
	Until(t, "cat has ended", func() bool { return len(h.Processes()) == 0 })
	if _, err := h.ssh(h.Config(), "true"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
	if err := h.StartSSH(); err != nil {
		t.Fatal(err)
	}
	say(t, h, "echo back", "back")
	if err := h.Ban(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ssh(h.Config(), "true"); err == nil || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("%v", err)
	}
}

// A host that was given another key is not trusted any more.
func TestNewKey(t *testing.T) {
	h := New(t, 1)[0]
	if err := h.NewKey(); err != nil {
		t.Fatal(err)
	}
	if err := h.StopSSH(); err != nil {
		t.Fatal(err)
	}
	if err := h.StartSSH(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ssh(h.Config(), "true"); err == nil || !strings.Contains(err.Error(), "HOST IDENTIFICATION HAS CHANGED") {
		t.Errorf("%v", err)
	}
}

// Over a shared connection there is one session process, however many commands run.
func TestMaster(t *testing.T) {
	h := New(t, 1)[0]
	config, err := h.Master()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		begin(t, h, config)
	}
	if n := len(h.Sessions()); n != 1 {
		t.Errorf("%d sessions\n%s", n, h.Describe())
	}
}

// A host behind another is within reach from that one only.
func TestBehind(t *testing.T) {
	a := NewHost(t, Options{})
	b := NewHost(t, Options{Behind: a})
	say(t, a, "ssh -oBatchMode=yes "+b.Address()+" uname -n", b.Name())
	if wires, err := command("ip", "link"); err != nil || strings.Contains(wires, b.Name()+"@") || !strings.Contains(wires, a.Name()+"@") {
		t.Errorf("wires that end here: %s, %v", wires, err)
	}
}

// The options do what they say.
func TestOptions(t *testing.T) {
	h := NewHost(t, Options{Busybox: true})
	say(t, h, "ls /bin/busybox; ls -l /bin/sh | grep -c busybox; echo $HOME; ls /; ls /usr 2>&1; true",
		"/bin/busybox\n1\n/root\nbin\ndev\netc\nproc\nroot\ntmp\nls: /usr: No such file or directory")
	say(t, h, "echo x >/root/x; cat /root/x; readlink /proc/self/exe", "x\n/bin/busybox")
	h = NewHost(t, Options{Without: []string{"gzip", "sha256sum"}, ReadOnlyHome: true})
	say(t, h, "command -v gzip sha256sum || echo none; touch x 2>/dev/null || echo cannot; touch /tmp/x && echo can", "none\ncannot\ncan")
	h = NewHost(t, Options{System: "Linux riscv64"})
	before := h.Received()
	say(t, h, "uname -sm; uname -n", "Linux riscv64\n"+h.Name())
	if n := h.Received() - before; before < 0 || n < 1000 {
		t.Errorf("%d bytes arrived, after %d", n, before)
	}
	if err := h.Throttle(100_000); err != nil {
		t.Log(err)
	} else if begin := time.Now(); true {
		if _, err := command("sh", "-c", "head -c 300000 /dev/zero | ssh -F "+h.Config()+" "+h.Name()+" 'cat >/dev/null'"); err != nil || time.Since(begin) < time.Second {
			t.Errorf("throttled: %v, %v", time.Since(begin), err)
		}
	}
	h = NewHost(t, Options{NoExecHome: true})
	say(t, h, "cp /bin/true x; ./x 2>/dev/null || echo cannot", "cannot")
	h = NewHost(t, Options{Space: 1 << 20})
	for _, dir := range []string{"/root", "/tmp", "/var/tmp", "/dev/shm"} {
		say(t, h, "head -c 2000000 /dev/zero >"+dir+"/x 2>/dev/null || echo full; rm "+dir+"/x", "full")
	}
	h = NewHost(t, Options{Shell: "/usr/sbin/nologin"})
	if out, err := h.ssh(h.Config(), "true"); err == nil || !strings.Contains(out, "not available") {
		t.Errorf("%q, %v", out, err)
	}
}

// A program that is killed leaves no host behind.
func TestKilled(t *testing.T) {
	New(t, 1) // or skip
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"=holder")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	address, first, _ := strings.Cut(strings.TrimSpace(line), " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatalf("it says %q", line)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	Until(t, "its processes are gone", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
	Until(t, "its network is gone", func() bool {
		routes, err := command("ip", "route")
		return err == nil && !strings.Contains(routes, strings.TrimSuffix(address, "2"))
	})
}
