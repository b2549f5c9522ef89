package afar_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/hosttest"
)

// The first connection brings the program to a host, the next ones find it there.
func TestSSHColdAndWarm(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	reach := func() int64 {
		before := h.Received()
		pool := openWith(t, c, h.Target("workers=1"))
		at(t, pool, h)
		do(t, pool.Close())
		alone(t, true, h)
		return h.Received() - before
	}
	cold := reach()
	first := files(t, h)
	if len(first) != 1 || cold < first[0].Size()/4 {
		t.Fatalf("%d bytes sent, and there are %d programs", cold, len(first))
	}
	warm := reach()
	second := files(t, h)
	if len(second) != 1 || !os.SameFile(first[0], second[0]) || warm > cold/10 {
		t.Errorf("%d bytes sent, %d at first", warm, cold)
	}
}

// Many workers on a host cost one connection, share its processors, and come and go together.
func TestSSHOneConnection(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	pool := openWith(t, c, h.Target("workers=10"))
	if n := len(h.Sessions()); n != 1 {
		t.Errorf("%d sessions", n)
	}
	seen := map[int]bool{}
	for _, g := range pool.Gateways() {
		p := at(t, g, h)
		s, err := g.Status(within(t))
		if err != nil || s.PID != p.PID || s.Host != h.Name() || seen[p.PID] || s.RSS <= 0 {
			t.Errorf("%s: %+v, %v; it says %+v", g.ID(), s, err, p)
		}
		seen[p.PID] = true
	}
	squares(t, pool, 20_000, nil)
	if len(seen) != 10 || len(h.Sessions()) != 1 {
		t.Errorf("%d workers over %d connections", len(seen), len(h.Sessions()))
	}
	do(t, pool.Close())
	alone(t, true, h)
}

// Without a number there are as many workers as the host has processors.
func TestSSHWithoutNumber(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	processors, err := h.Exec("nproc")
	do(t, err)
	if n := len(openWith(t, c, h.Target()).Gateways()); fmt.Sprint(n) != strings.TrimSpace(processors) {
		t.Errorf("%d workers on %s processors", n, processors)
	}
}

// Parameters of a target take effect on the host.
func TestSSHParameters(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	do(t, os.Mkdir(h.Path("/root/work"), 0o700))
	pool := openWith(t, c, h.Target("workers=2", "id=far", "dir=/root/work", "nice=3", "env.AFAR_TEST_COLOR=dark%26red"),
		h.Target("workers=1"))
	base, err := where.On(pool.Gateways()[2])(within(t), "AFAR_TEST_COLOR")
	if err != nil || base.Variable != "" || base.Dir != "/root" {
		t.Errorf("%+v, %v", base, err)
	}
	for i, g := range pool.Gateways()[:2] {
		p, err := where.On(g)(within(t), "AFAR_TEST_COLOR")
		if err != nil || p.Dir != "/root/work" || p.Variable != "dark&red" || p.Nice != base.Nice+3 || g.ID() != fmt.Sprint("far-", i+1) {
			t.Errorf("%s: %+v, %v, and by default %+v", g.ID(), p, err, base)
		}
	}
	if pool, err := c.Open(within(t), h.Target("workers=1", "dir=/missing")); err == nil {
		_ = pool.Close()
		t.Error("a directory that is not there is accepted")
	} else if !strings.Contains(err.Error(), "/missing") {
		t.Error(err)
	}
}

var announcer = afar.Func(announce)

func announce(_ context.Context, n int) (int, error) {
	for i := range n {
		fmt.Println("out", i)
		fmt.Fprintln(os.Stderr, "err", i)
	}
	return n, nil
}

// What workers on a host print arrives in order, with the worker's name in front.
func TestSSHPrints(t *testing.T) {
	c := abroad(t)
	var book notebook
	c.Stderr = &book
	h := hosttest.New(t, 1)[0]
	pool := openWith(t, c, h.Target("workers=2", "id=p"))
	for _, g := range pool.Gateways() {
		if n, err := announcer.On(g)(within(t), 50); n != 50 || err != nil {
			t.Fatal(n, err)
		}
	}
	for _, id := range []string{"p-1", "p-2"} {
		for i := range 50 {
			for _, stream := range []string{"out", "err"} {
				line := fmt.Sprintf("[%s] %s %d\n", id, stream, i)
				hosttest.Until(t, line, func() bool { return strings.Contains(book.String(), line) })
			}
		}
	}
	text := book.String()
	if strings.Index(text, "[p-1] out 7\n") > strings.Index(text, "[p-1] err 8\n") {
		t.Error("not in order")
	}
}

// Hosts that have little suffice.
func TestSSHPoorHosts(t *testing.T) {
	c := abroad(t)
	for name, o := range map[string]hosttest.Options{
		"busybox":         {Busybox: true},
		"dash":            {Shell: "/bin/dash"},
		"without gzip":    {Without: []string{"gzip"}},
		"without hashes":  {Without: []string{"sha256sum", "shasum", "openssl"}},
		"without both":    {Without: []string{"gzip", "sha256sum", "shasum", "openssl"}},
		"read-only home":  {ReadOnlyHome: true},
		"no-exec home":    {NoExecHome: true},
		"read-only shell": {Shell: "/bin/dash", ReadOnlyHome: true, Without: []string{"gzip", "sha256sum", "shasum", "openssl"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := hosttest.NewHost(t, o)
			for range 2 {
				pool := openWith(t, c, h.Target("workers=2"))
				at(t, pool, h)
				squares(t, pool, 1000, nil)
				do(t, pool.Close())
				alone(t, true, h)
			}
		})
	}
}

func init() {
	// A pusher opens a target when it is told to, and says what it found there.
	roles["pusher"] = func() {
		fmt.Println("ready")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		pool, err := afar.Config{Stderr: io.Discard, Images: images(), StartTimeout: patience}.Open(ctx, os.Getenv(deskVariable))
		if err != nil {
			fmt.Printf("%q\n", err)
			return
		}
		p, err := where.On(pool)(ctx, "")
		fmt.Printf("%s %v\n", p.Host, errors.Join(err, pool.Close()))
	}
}

// caller is this program in a role, started by a test.
type caller struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startCaller starts one, which ends with the test at the latest. Its errors are the test's.
func startCaller(t testing.TB, role string, targets ...string) *caller {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, deskVariable+"="+strings.Join(targets, "\n"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	do(t, err)
	out, err := cmd.StdoutPipe()
	do(t, err)
	do(t, cmd.Start())
	c := &caller{cmd, in, bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return c
}

// says reads a line.
func (c *caller) says(t testing.TB) string {
	t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	return strings.TrimSpace(line)
}

// Twenty callers who come at once to a host that does not have the program yet bring it once.
func TestSSHTwentyCallers(t *testing.T) {
	c := abroad(t)
	hosts := hosttest.New(t, 2)
	pool := openWith(t, c, hosts[0].Target("workers=1"))
	do(t, pool.Close())
	alone(t, true, hosts[0])
	once := hosts[0].Received()

	h := hosts[1]
	callers := make([]*caller, 20)
	for i := range callers {
		callers[i] = startCaller(t, "pusher", h.Target("workers=1"))
	}
	for _, c := range callers {
		if line := c.says(t); line != "ready" {
			t.Fatal(line)
		}
	}
	before := h.Received()
	for _, c := range callers {
		_, err := io.WriteString(c.in, "go\n")
		do(t, err)
	}
	for i, c := range callers {
		if line := c.says(t); line != h.Name()+" <nil>" {
			t.Errorf("caller %d: %s", i, line)
		}
	}
	if n := h.Received() - before; n > 2*once {
		t.Errorf("%d bytes arrived, and %d are enough for one caller", n, once)
	}
	if n := len(files(t, h)); n != 1 {
		t.Errorf("there are %d programs", n)
	}
	alone(t, true, h)
}
