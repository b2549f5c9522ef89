package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/trust"
)

// patience bounds every wait for an event that must come; tests that pass do not
// come near it.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	afar.Main()
	goleak.VerifyTestMain(tidy{m})
}

// tidy removes what was built for the tests.
type tidy struct{ m *testing.M }

func (r tidy) Run() int {
	defer func() { _ = os.RemoveAll(built.dir) }()
	return r.m.Run()
}

// built are the programs that tests run: this one, and one that is run by it.
var built struct {
	once sync.Once
	dir  string
	err  error
}

const hello = `package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	switch os.Args[1] {
	case "copy": // the input to the output
		n, err := io.Copy(os.Stdout, os.Stdin)
		fmt.Fprintln(os.Stderr, n, err, os.Getenv("A"))
		os.Exit(7)
	case "signal": // say which one has come
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1)
		fmt.Println("ready")
		fmt.Println(<-c)
		os.Exit(9)
	case "die":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		forever()
	case "wait": // with a child
		cmd := exec.Command("sleep", "1000")
		err := cmd.Start()
		fmt.Println(os.Getpid(), cmd.Process.Pid, err)
		forever()
	}
}

// forever waits for a signal that nobody sends; a bare select could be taken for a deadlock.
func forever() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR2)
	<-c
}
`

// build builds the programs once.
func build(t testing.TB) (program, pkg string) {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "afar-cmd-"); built.err != nil {
			return
		}
		src := filepath.Join(built.dir, "hello")
		files := map[string]string{"go.mod": "module hello\n\ngo 1.26\n", "main.go": hello}
		built.err = os.Mkdir(src, 0o755)
		for name, text := range files {
			if built.err == nil {
				built.err = os.WriteFile(filepath.Join(src, name), []byte(text), 0o644)
			}
		}
		if built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(built.dir, "afar"), ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	must(t, built.err)
	return filepath.Join(built.dir, "afar"), filepath.Join(built.dir, "hello")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

// said is what a command line had to say.
type said struct {
	code      int
	out, errs string
}

// typed runs a command line in this process.
func typed(in string, args ...string) said {
	var out, errs bytes.Buffer
	code := run(append([]string{"afar"}, args...), strings.NewReader(in), &out, &errs)
	return said{code, out.String(), errs.String()}
}

// home makes a directory for the files that the environment names.
func home(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	must(t, err)
	t.Setenv("GOCACHE", strings.TrimSpace(string(cache)))        // which is in the user's otherwise
	telemetry := filepath.Join(dir, "config", "go", "telemetry") // which the go command writes when it has ended
	must(t, os.MkdirAll(telemetry, 0o755))
	must(t, os.WriteFile(filepath.Join(telemetry, "mode"), []byte("off"), 0o644))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	t.Setenv(trust.KeyVariable, filepath.Join(dir, "key"))
	t.Setenv(trust.KnownNodesVariable, filepath.Join(dir, "known_nodes"))
	t.Setenv("AFAR_AUTHORIZED_KEYS", filepath.Join(dir, "authorized_keys"))
	return dir
}

// daemon is an afar node in a process of its own.
type daemon struct {
	t       testing.TB
	cmd     *exec.Cmd
	address string
	target  string

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and replaced with every line
	over  chan struct{} // closed when it has ended
}

// startNode makes keys, and starts a node that lets this caller in. It has no Go.
func startNode(t testing.TB, args ...string) *daemon {
	t.Helper()
	program, _ := build(t)
	dir := home(t)
	nodeKey := filepath.Join(dir, "node.key")
	for _, line := range [][]string{{"key", "new"}, {"key", "new", "--key", nodeKey}, {"key", "authorize", filepath.Join(dir, "key.pub")}} {
		if s := typed("", line...); s.code != 0 {
			t.Fatal(s.errs)
		}
	}
	d := &daemon{t: t, more: make(chan struct{}), over: make(chan struct{})}
	d.cmd = exec.Command(program, append([]string{"node", "--listen", "127.0.0.1:0", "--key", nodeKey, "--dir", filepath.Join(dir, "node")}, args...)...)
	d.cmd.Env = append(os.Environ(), "PATH=/usr/bin:/bin")
	errs, err := d.cmd.StderrPipe()
	must(t, err)
	must(t, d.cmd.Start())
	go d.read(errs)
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(syscall.SIGTERM) // twice: at once
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		d.exit()
	})
	d.address = regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(d.wait("listening"))[1]
	d.target = "tcp://" + d.address
	if s := typed("", "key", "trust", d.address, "-yes"); s.code != 0 {
		t.Fatal(s.errs)
	}
	return d
}

// read keeps what the node logs, until it has ended.
func (d *daemon) read(from io.Reader) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		d.mu.Lock()
		d.lines = append(d.lines, lines.Text())
		close(d.more)
		d.more = make(chan struct{})
		d.mu.Unlock()
	}
	_ = d.cmd.Wait()
	close(d.over)
}

// wait waits for a line that has the words.
func (d *daemon) wait(words ...string) string {
	d.t.Helper()
	for over := time.After(patience); ; {
		d.mu.Lock()
		lines, more := d.lines, d.more
		d.mu.Unlock()
		for _, line := range lines {
			all := true
			for _, word := range words {
				all = all && strings.Contains(line, word)
			}
			if all {
				return line
			}
		}
		select {
		case <-more:
		case <-over:
			d.t.Fatalf("the node has not said %q, but\n%s", words, strings.Join(lines, "\n"))
		}
	}
}

// first returns the first line until now that has a text, or "".
func (d *daemon) first(text string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, line := range d.lines {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}

// exit waits for the node's end, and returns its code.
func (d *daemon) exit() int {
	d.t.Helper()
	select {
	case <-d.over:
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		d.t.Fatal("the node has not ended")
		return 0
	}
}

func (d *daemon) signal(s syscall.Signal) {
	d.t.Helper()
	must(d.t, d.cmd.Process.Signal(s))
}

// other is afar in a process of its own.
type other struct {
	t   testing.TB
	cmd *exec.Cmd
	out *bufio.Reader
	err bytes.Buffer
}

// start starts one, in the directory of the program that it may run.
func start(t testing.TB, in io.Reader, args ...string) *other {
	t.Helper()
	program, pkg := build(t)
	o := &other{t: t, cmd: exec.Command(program, args...)}
	o.cmd.Dir, o.cmd.Stdin, o.cmd.Stderr = pkg, in, &o.err
	o.cmd.WaitDelay = patience
	out, err := o.cmd.StdoutPipe()
	must(t, err)
	o.out = bufio.NewReader(out)
	must(t, o.cmd.Start())
	t.Cleanup(func() { _ = o.cmd.Process.Kill() })
	return o
}

func (o *other) line() string {
	o.t.Helper()
	line, err := o.out.ReadString('\n')
	if err != nil {
		_ = o.cmd.Wait()
		o.t.Fatalf("%v: %s", err, o.err.String())
	}
	return strings.TrimSpace(line)
}

// end waits for its end.
func (o *other) end() said {
	o.t.Helper()
	rest, err := io.ReadAll(o.out)
	must(o.t, err)
	_ = o.cmd.Wait()
	return said{o.cmd.ProcessState.ExitCode(), string(rest), o.err.String()}
}
