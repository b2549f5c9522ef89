package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/wire"
)

// programVariable makes this test binary a program that is run.
const programVariable = "AFAR_TEST_PROGRAM"

const patience = 60 * time.Second

func init() {
	if do := programs[os.Getenv(programVariable)]; do != nil {
		do()
		os.Exit(0)
	}
}

var programs = map[string]func(){
	"copy": func() {
		n, _ := io.Copy(os.Stdout, os.Stdin)
		fmt.Fprint(os.Stderr, n, os.Args[1:], os.Getenv("AFAR_AGENT"))
		os.Exit(3)
	},
	"signal": func() {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("ready")
		fmt.Print(<-c)
	},
	"daemon": func() { // which leaves somebody behind who has its output, and its group
		cmd := exec.Command("sleep", "1000")
		cmd.Stdout = os.Stdout
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		fmt.Println(cmd.Start() == nil, cmd.Process.Pid)
	},
	"agent": func() {
		if err := agent.Main("nonce"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	},
	"wait": func() {
		cmd := exec.Command("sleep", "1000")
		_ = cmd.Start()
		fmt.Println(os.Getpid(), cmd.Process.Pid)
		select {}
	},
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// stock is Images with this test binary among them, and its hash.
func stock(t testing.TB) (*agent.Images, string) {
	t.Helper()
	images, err := agent.OpenImages(filepath.Join(t.TempDir(), "images"), 0, 0)
	must(t, err)
	file, err := os.Open("/proc/self/exe")
	must(t, err)
	defer file.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, file)
	must(t, err)
	hash := fmt.Sprintf("%x", sum.Sum(nil))
	_, err = file.Seek(0, io.SeekStart)
	must(t, err)
	must(t, images.Put(t.Context(), hash, size, file))
	return images, hash
}

// runs makes a place where this test binary's programs are run.
func runs(t *testing.T) (p *agent.Place, launch func(name string, args ...string) *wire.Launch) {
	t.Helper()
	images, hash := stock(t)
	t.Setenv(ship.AgentVariable, "it is") // as in an agent
	p, _ = serve(t, &agent.Server{Keep: images, Run: images.Run})
	return p, func(name string, args ...string) *wire.Launch {
		return &wire.Launch{Image: hash, Argv: args, Env: []string{programVariable + "=" + name}}
	}
}

// A program's streams and its end are those of one that runs here.
func TestRunStreams(t *testing.T) {
	p, launch := runs(t)
	input := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var out, errs bytes.Buffer
	exit, err := p.Run(within(t), launch("copy", "a", ""), agent.Streams{Stdin: bytes.NewReader(input), Stdout: &out, Stderr: &errs})
	if err != nil || exit.Code != 3 || exit.Signal != "" {
		t.Errorf("it ended with %+v, %v", exit, err)
	}
	if !bytes.Equal(out.Bytes(), input) {
		t.Errorf("%d bytes came back of %d", out.Len(), len(input))
	}
	if want := fmt.Sprint(len(input), []string{"a", ""}, ""); errs.String() != want {
		t.Errorf("it said %q, want %q", errs.String(), want)
	}
	// Without an input there is the end of one; who is not interested in output need not take it.
	if exit, err := p.Run(within(t), launch("copy"), agent.Streams{}); err != nil || exit.Code != 3 {
		t.Errorf("it ended with %+v, %v", exit, err)
	}
}

// first calls a function with the first line.
type first struct {
	line bytes.Buffer
	call func(string)
}

func (f *first) Write(p []byte) (int, error) {
	had := bytes.ContainsRune(f.line.Bytes(), '\n')
	f.line.Write(p)
	if line, _, found := strings.Cut(f.line.String(), "\n"); found && !had {
		f.call(line)
	}
	return len(p), nil
}

// Signals reach the program, and what it does about them is its own.
func TestRunSignals(t *testing.T) {
	p, launch := runs(t)
	signals := make(chan string, 2)
	out := &first{call: func(string) {
		signals <- "no such signal"
		signals <- syscall.SIGTERM.String()
	}}
	exit, err := p.Run(within(t), launch("signal"), agent.Streams{Stdout: out, Signals: signals})
	if err != nil || exit.Code != 0 || !strings.HasSuffix(out.line.String(), "terminated") {
		t.Errorf("it ended with %+v, %v: %q", exit, err, out.line.String())
	}
	out = &first{call: func(string) { signals <- "killed" }}
	exit, err = p.Run(within(t), launch("wait"), agent.Streams{Stdout: out, Signals: signals})
	if err != nil || exit.Code != -1 || exit.Signal != "killed" {
		t.Errorf("it ended with %+v, %v", exit, err)
	}
	gone(t, out.line.String())
}

// gone waits until the processes in a text have ended.
func gone(t *testing.T, text string) {
	t.Helper()
	for _, word := range strings.Fields(text) {
		var pid int
		_, err := fmt.Sscan(word, &pid)
		must(t, err)
		fd, err := unix.PidfdOpen(pid, 0)
		if err == unix.ESRCH {
			continue
		}
		must(t, err)
		defer unix.Close(fd)
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds())); n == 0 {
			t.Errorf("process %d is still there", pid)
		}
	}
}

// The end of the context ends the program, and its group.
func TestRunCanceled(t *testing.T) {
	p, launch := runs(t)
	ctx, cancel := context.WithCancel(within(t))
	out := &first{call: func(string) { cancel() }}
	if exit, err := p.Run(ctx, launch("wait"), agent.Streams{Stdout: out}); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %+v, %v", exit, err)
	}
	gone(t, out.line.String())
}

// One that has left somebody behind, who has its output, has ended nevertheless.
func TestRunDaemon(t *testing.T) {
	p, launch := runs(t)
	var out bytes.Buffer
	exit, err := p.Run(within(t), launch("daemon"), agent.Streams{Stdout: &out})
	var started bool
	var pid int
	_, scanErr := fmt.Sscan(out.String(), &started, &pid)
	if err != nil || exit.Code != 0 || scanErr != nil || !started {
		t.Fatalf("it ended with %+v, %v: %q", exit, err, out.String())
	}
	must(t, syscall.Kill(pid, syscall.SIGKILL))
}

// A program whose file is no longer the image is not run, until it is brought again.
func TestRunDamaged(t *testing.T) {
	images, hash := stock(t)
	p, _ := serve(t, &agent.Server{Keep: images, Run: images.Run})
	copies := &wire.Launch{Image: hash, Env: []string{programVariable + "=copy"}}
	run := func() error {
		_, err := p.Run(within(t), copies, agent.Streams{})
		return err
	}
	must(t, run())
	path, ok := images.Path(hash)
	if !ok {
		t.Fatal("it is not there")
	}
	other := path + ".other"
	must(t, os.WriteFile(other, []byte("#!/bin/sh\n"), 0o700))
	must(t, os.Rename(other, path))
	if err := run(); err == nil || !strings.Contains(err.Error(), "is not here") {
		t.Errorf("what is not the image was run: %v", err)
	}
	own, err := os.Stat("/proc/self/exe")
	must(t, err)
	sent, err := p.PutImage(within(t), hash, own.Size(), func() (io.ReadCloser, error) { return os.Open("/proc/self/exe") })
	if !sent || err != nil {
		t.Errorf("it was not asked for, or not taken: %v, %v", sent, err)
	}
	must(t, run())
}

// An agent tidies the cache that it was brought to, even if it ends at once.
func TestAgentTidies(t *testing.T) {
	images, hash := stock(t)
	path, ok := images.Path(hash)
	if !ok {
		t.Fatal("it is not there")
	}
	cache := filepath.Dir(path)
	left, young := filepath.Join(cache, ".part-1"), filepath.Join(cache, ".part-2")
	for _, name := range []string{left, young} {
		must(t, os.WriteFile(name, nil, 0o600))
	}
	old := time.Now().Add(-2 * time.Hour)
	must(t, os.Chtimes(left, old, old))
	cmd := exec.CommandContext(within(t), path) // whose input ends at once
	cmd.Env = append(os.Environ(), programVariable+"=agent", ship.CacheVariable+"="+cache)
	cmd.Stderr = os.Stderr
	must(t, cmd.Run())
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left behind is still there: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("what may still be written is gone: %v", err)
	}
}

// Who is refused hears why, whatever it asks for, and when the link has ended too.
func TestRefuse(t *testing.T) {
	near, far := launch.Pipe()
	refused := make(chan struct{})
	go func() {
		agent.Refuse(t.Context(), far, errors.New("you are one too many"))
		close(refused)
	}()
	conn := peer.Dial(near, peer.Config{Initiator: true})
	conn.Start()
	_, err := conn.Hello(within(t))
	must(t, err)
	p := agent.NewPlace(conn.Session())
	for range 2 {
		_, err := p.Status(within(t))
		if err == nil || !strings.Contains(err.Error(), "you are one too many") {
			t.Errorf("got %v", err)
		}
		<-conn.Session().Done()
	}
	<-refused
	conn.Session().Wait()
}

// What cannot be run is said.
func TestRunRefused(t *testing.T) {
	p, launch := runs(t)
	in := func(dir string) *wire.Launch {
		l := launch("copy")
		l.Dir = dir
		return l
	}
	for what, l := range map[string]*wire.Launch{
		"is not here": {Image: strings.Repeat("0", 64)},
		"working directory of the program: stat /nowhere: no such file":      in("/nowhere"),
		"working directory of the program: /proc/version is not a directory": in("/proc/version"),
	} {
		if _, err := p.Run(within(t), l, agent.Streams{}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v does not say %q", err, what)
		}
	}
}

// A place says how it is: of whom it does not know better, what it has started.
func TestStatus(t *testing.T) {
	p, _ := serve(t, commands())
	_, err := p.Command(within(t), sh("cat"))
	must(t, err)
	status, err := p.Status(within(t))
	if err != nil || status.Workers != 1 || status.Own != 1 || len(status.LoadMilli) != 3 || status.Program != "" {
		t.Errorf("status %+v, %v", status, err)
	}
	p, _ = serve(t, &agent.Server{Status: func() wire.Status { return wire.Status{Program: "p", Limits: []string{"l"}} }})
	status, err = p.Status(within(t))
	if err != nil || status.Program != "p" || len(status.Limits) != 1 {
		t.Errorf("status %+v, %v", status, err)
	}
}

// Who drains starts nothing more, and closes the link when the last has ended and the
// far side knows how.
func TestDrain(t *testing.T) {
	near, far := launch.Pipe()
	serving := agent.Begin(far, wire.Hello{}, commands())
	conn := peer.Dial(near, peer.Config{Initiator: true})
	conn.Start()
	_, err := conn.Hello(within(t))
	must(t, err)
	p := agent.NewPlace(conn.Session())
	w, err := p.Command(within(t), sh("read x; exit 5"))
	must(t, err)
	serving.Drain("enough")
	serving.Drain("enough")
	if _, err := p.Command(within(t), sh("true")); err == nil || !strings.Contains(err.Error(), "nothing more") {
		t.Errorf("started while draining: %v", err)
	}
	_, err = w.Link().Write([]byte("x\n"))
	must(t, err)
	if exit := w.Exit(); exit.Code != 5 {
		t.Errorf("it ended with %v", exit)
	}
	must(t, serving.Wait())
	<-conn.Session().Done()
	conn.Session().Wait()
}

// Images that are too large, or for which there is no room, are refused.
func TestImagesLimits(t *testing.T) {
	dir := t.TempDir()
	images, err := agent.OpenImages(dir, 100, 150)
	must(t, err)
	put := func(n int) error {
		blob := bytes.Repeat([]byte{byte(n)}, n)
		return images.Put(t.Context(), fmt.Sprintf("%x", sha256.Sum256(blob)), int64(n), bytes.NewReader(blob))
	}
	if err := put(101); err == nil || !strings.Contains(err.Error(), "100 are the most") {
		t.Errorf("too large: %v", err)
	}
	must(t, put(90))
	if err := put(80); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("too many: %v", err)
	}
	if !images.Has(fmt.Sprintf("%x", sha256.Sum256(bytes.Repeat([]byte{90}, 90)))) {
		t.Error("what was kept is not there")
	}
}
