//go:build unix

package ship

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// testProgram is the path of the program that the tests ship.
var testProgram string

func TestMain(m *testing.M) { goleak.VerifyTestMain(prepared{m}) }

// prepared gives the tests a cache of their own, and the program.
type prepared struct{ m *testing.M }

func (p prepared) Run() int {
	dir, err := os.MkdirTemp("", "ship-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		cacheDir := filepath.Join(dir, "cache")
		for _, set := range [][2]string{{"GOCACHE", goEnv("GOCACHE")}, {"GOMODCACHE", goEnv("GOMODCACHE")}, {"XDG_CACHE_HOME", cacheDir}} {
			os.Setenv(set[0], set[1])
		}
		testProgram, err = buildProgram(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the program that the tests ship:", err)
		return 1
	}
	return p.m.Run()
}

func goEnv(name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(out))
}

func buildProgram(dir string) (string, error) {
	const source = `package main
import "os"
func main() {
	nonce := os.Getenv("AFAR_AGENT")
	if os.Getenv("SILENT") != "" {
		os.Stdout.WriteString("hello, I am an ordinary program\n")
		return
	}
	os.Stdout.WriteString("printed by an init\nAFAR1 " + nonce + " agent\nfirst bytes\n")
	os.Stdout.WriteString(os.Getenv("AFAR_CACHE") + "\n")
	buffer := make([]byte, 4096)
	for {
		n, err := os.Stdin.Read(buffer)
		if err != nil {
			return
		}
		os.Stdout.Write(buffer[:n])
	}
}
`
	files := map[string]string{"main.go": source, "go.mod": "module program\n\ngo 1.26\n"}
	src := filepath.Join(dir, "program")
	if err := os.Mkdir(src, 0o700); err != nil {
		return "", err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	path := filepath.Join(dir, "program.exe")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, ".")
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
}

// program returns an image that no other test has, with some random bytes at its end.
func program(t testing.TB, extra int) *Image {
	t.Helper()
	data, err := os.ReadFile(testProgram)
	if err != nil {
		t.Fatal(err)
	}
	tail := make([]byte, 16+extra)
	_, _ = rand.Read(tail)
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, append(data, tail...), 0o700); err != nil {
		t.Fatal(err)
	}
	image, err := File(path, "")
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// give returns a choose function.
func give(image *Image) func(context.Context, string) (*Image, error) {
	return func(_ context.Context, system string) (*Image, error) {
		if system != image.System() {
			return nil, errors.New("another system: " + system)
		}
		return image, nil
	}
}

// shells are those that the tests need, and how to start them.
var shells = map[string][]string{
	"dash":    {"dash"},
	"bash":    {"bash", "--posix"},
	"busybox": {"busybox", "sh"},
}

// debian are the packages that they come in.
var debian = map[string]string{"dash": "dash", "bash": "bash", "busybox": "busybox-static"}

// requireHosts is set where everything must be tested.
var requireHosts = os.Getenv("REQUIRE_HOSTS") == "1"

// missing skips a test, or fails it where everything must be tested.
func missing(t testing.TB, what string) {
	t.Helper()
	if requireHosts {
		t.Fatal(what)
	}
	t.Skip(what)
}

// inShells runs a test in each shell.
func inShells(t *testing.T, test func(t *testing.T, shell []string)) {
	for _, name := range []string{"dash", "bash", "busybox"} {
		t.Run(name, func(t *testing.T) { test(t, shellOf(t, name)) })
	}
}

func shellOf(t testing.TB, name string) []string {
	t.Helper()
	argv := shells[name]
	path, err := exec.LookPath(argv[0])
	if err != nil {
		missing(t, name+" is not installed (Debian: apt-get install "+debian[name]+")")
	}
	return append([]string{path}, argv[1:]...)
}

// A far is a shell that plays the far side.
type far struct {
	io.Reader
	in     io.WriteCloser
	cmd    *exec.Cmd
	stderr bytes.Buffer
	done   chan struct{}
}

func (f *far) Write(p []byte) (int, error) { return f.in.Write(p) }

// home returns an environment with a home of its own.
func home(dir string, more ...string) []string {
	return append([]string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir}, more...)
}

// start runs a command, whose processes end with the test.
func start(t testing.TB, argv, env []string) *far {
	t.Helper()
	f := &far{cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	f.cmd.Env = env
	f.cmd.Stderr = &f.stderr
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := f.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f.in, f.Reader, f.cmd.Stdout = in, outRead, outWrite
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = outWrite.Close()
	t.Cleanup(func() {
		_ = in.Close()
		_ = syscall.Kill(-f.cmd.Process.Pid, syscall.SIGKILL)
		f.wait()
		_ = outRead.Close()
	})
	return f
}

// wait waits for the end of the process.
func (f *far) wait() {
	select {
	case <-f.done:
	default:
		_ = f.cmd.Wait()
		close(f.done)
	}
}

// within returns a context that lasts long enough for anything that works.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// bootstrap starts an image in a shell, and checks that it serves there. It returns the directory that it is in.
func bootstrap(t testing.TB, f *far, image *Image) (*Arrival, string) {
	t.Helper()
	arrival, err := Bootstrap(within(t), f, 0, give(image))
	if err != nil {
		t.Fatal(err)
	}
	return arrival, serves(t, f, arrival)
}

// serves checks that a program reads what is written and that all it prints arrives.
func serves(t testing.TB, f *far, a *Arrival) (dir string) {
	t.Helper()
	go func() {
		_, _ = io.WriteString(f, "over and out\n")
		_ = f.in.Close()
	}()
	out, err := io.ReadAll(a.Link)
	lines := strings.Split(string(out), "\n")
	if err != nil || len(lines) != 4 || lines[0] != "first bytes" || lines[2] != "over and out" || lines[3] != "" {
		t.Fatalf("%q %v", out, err)
	}
	return lines[1]
}

// wantError checks the stage of an error.
func wantError(t testing.TB, err error, stage Stage, texts ...string) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Stage != stage {
		t.Fatalf("error %v, want stage %q", err, stage)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not contain %q", err, text)
		}
	}
	return e
}

// names lists a directory.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, entry := range entries {
		list = append(list, entry.Name())
	}
	return list
}
