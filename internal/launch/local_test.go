package launch_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/afar-go/afar/internal/launch"
)

func init() {
	scripts["echo"] = func(in *launch.Inherited) {
		_, _ = io.Copy(in.Link, in.Link)
	}
	scripts["vector"] = func(in *launch.Inherited) {
		// Sends back what came, in single bytes and larger pieces of one Writev.
		all, bufs := make([]byte, 70_000), [][]byte{nil}
		_, _ = io.ReadFull(in.Link, all)
		for i := range 3000 {
			bufs = append(bufs, all[i:i+1], nil)
		}
		bufs = append(bufs, all[3000:])
		if err := in.Link.Writev(bufs...); err != nil {
			panic(err)
		}
		awaitEnd(in)
	}
	scripts["print"] = func(in *launch.Inherited) {
		text, _ := io.ReadAll(in.Link)
		_, _ = os.Stdout.Write(text)
	}
	scripts["both"] = func(in *launch.Inherited) {
		for i := range 200 {
			fmt.Fprintln(os.Stdout, "out", i)
			fmt.Fprintln(os.Stderr, "err", i)
		}
		fmt.Fprint(os.Stderr, "unterminated")
	}
	scripts["exit"] = func(in *launch.Inherited) {
		code, _ := strconv.Atoi(os.Getenv(argVariable))
		os.Exit(code)
	}
	scripts["end"] = func(in *launch.Inherited) {
		awaitEnd(in)
		in.End(7)
	}
	scripts["panic"] = func(in *launch.Inherited) {
		for i := range 60 {
			fmt.Println("before", i)
		}
		deep(150)
	}
	scripts["closer"] = func(in *launch.Inherited) {
		go func() { _, _ = in.Link.Read(make([]byte, 1)) }() // It may wait for ever.
		first, second := in.Link.Close(), in.Link.Close()
		_, read := in.Link.Read(make([]byte, 1))
		_, write := in.Link.Write(make([]byte, 1))
		fmt.Println(first, second, isClosed(read), isClosed(write), isClosed(in.Link.Writev(nil, make([]byte, 1))))
		input, _ := io.ReadAll(os.Stdin) // The null device, at the end: nothing keeps the worker.
		fmt.Print(len(input))
	}
	scripts["late"] = func(in *launch.Inherited) {
		awaitEnd(in)
		n, write := in.Link.Write(make([]byte, 10))
		fmt.Print(n, write, in.Link.Writev(make([]byte, 1)))
	}
	scripts["where"] = func(in *launch.Inherited) {
		dir, err := os.Getwd()
		input, _ := io.ReadAll(os.Stdin)
		fmt.Fprintf(in.Link, "%s|%v|%q|%s|%s|%q|%d|%s|%s\n", dir, err, input, os.Getenv("ONE"), os.Getenv("TWO"),
			leftovers(), len(os.Args), in.ID, in.Image)
	}
	roles["forgot"] = func() {} // See TestMain.
}

// leftovers are the variables of the package that a worker still sees.
func leftovers() (names []string) {
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "AFAR_") {
			names = append(names, entry)
		}
	}
	return names
}

//go:noinline
func deep(n int) int {
	if n == 0 {
		panic("the reason")
	}
	return deep(n-1) + 1
}

func TestEcho(t *testing.T) {
	w := start(t, spec("echo"))
	payload := bytes.Repeat([]byte("0123456789abcdef"), 256<<10) // 4 MiB: more than the pipes hold
	go func() {
		_ = w.Link().Writev(payload[:10], nil, payload[10:1000])
		_, _ = w.Link().Write(payload[1000:])
	}()
	back := make([]byte, len(payload))
	if _, err := io.ReadFull(w.Link(), back); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back, payload) {
		t.Error("the echo differs")
	}
	if err := w.Link().Close(); err != nil {
		t.Error(err)
	}
	if err := w.Link().Close(); err != nil {
		t.Error("second Close:", err)
	}
	if got := exitOf(t, w); got != (launch.Exit{}) {
		t.Errorf("exit %#v", got)
	}
	if _, err := w.Link().Read(back); !isClosed(err) {
		t.Errorf("Read after Close: %v", err)
	}
	if _, err := w.Link().Write(back); !isClosed(err) {
		t.Errorf("Write after Close: %v", err)
	}
	if err := w.Link().Writev(back); !isClosed(err) {
		t.Errorf("Writev after Close: %v", err)
	}
}

func TestVectors(t *testing.T) {
	w := start(t, spec("vector"))
	payload := make([]byte, 70_000)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	var bufs [][]byte
	for i := 0; i < len(payload); i += 10 { // more buffers than one system call takes
		bufs = append(bufs, payload[i:i+10])
	}
	if err := w.Link().Writev(bufs...); err != nil {
		t.Fatal(err)
	}
	if len(bufs[0]) != 10 || len(bufs[6999]) != 10 {
		t.Error("Writev changed its argument")
	}
	back := make([]byte, len(payload))
	if _, err := io.ReadFull(w.Link(), back); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back, payload) {
		t.Error("the bytes differ")
	}
}

// Several writers fill the pipe, so that writes are partial and have to wait; none may be torn.
func TestWritersDoNotInterleave(t *testing.T) {
	w := start(t, spec("echo"))
	const writers, records, size = 4, 20, 150_000
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			record := bytes.Repeat([]byte{byte('a' + i)}, size)
			for n := range records {
				if n%2 == 0 {
					_ = w.Link().Writev(record[:1], record[1:size/2], record[size/2:])
				} else {
					_, _ = w.Link().Write(record)
				}
			}
		})
	}
	defer group.Wait()
	record := make([]byte, size)
	for range writers * records {
		if _, err := io.ReadFull(w.Link(), record); err != nil {
			t.Fatal(err)
		}
		if bytes.Count(record, record[:1]) != size {
			t.Fatal("two writes interleaved")
		}
	}
}

func TestCloseInterruptsReadAndWrite(t *testing.T) {
	for _, name := range []string{"end", "panic"} {
		w := start(t, spec(name)) // Neither script sends anything, and "panic" does not even read.
		read, wrote := make(chan error), make(chan error)
		go func() {
			_, err := w.Link().Read(make([]byte, 1))
			read <- err
		}()
		go func() {
			var err error
			for err == nil {
				err = w.Link().Writev(make([]byte, 1<<20))
			}
			wrote <- err
		}()
		if err := w.Link().Close(); err != nil {
			t.Error(err)
		}
		if err := <-read; !isClosed(err) && err != io.EOF {
			t.Errorf("Read: %v", err)
		}
		if err := <-wrote; !isClosed(err) {
			t.Errorf("Writev: %v", err)
		}
		exitOf(t, w)
	}
}

func TestLinkAfterDeath(t *testing.T) {
	w := start(t, spec("where"))
	exitOf(t, w)
	line, err := io.ReadAll(w.Link())
	if err != nil || len(line) == 0 {
		t.Errorf("what the worker sent before its end: %q, %v", line, err)
	}
	if _, err := w.Link().Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write to a dead worker: %v", err)
	}
	if err := w.Link().Writev([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Writev to a dead worker: %v", err)
	}
}

func TestWorkerClosesLink(t *testing.T) {
	w := start(t, spec("closer"))
	if n, err := w.Link().Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read gives %d, %v", n, err)
	}
	if exit := exitOf(t, w); exit.Stderr != "<nil> <nil> true true true\n0" {
		t.Errorf("%#v", exit)
	}
}

func TestWorkerWritesToClosedLink(t *testing.T) {
	w := start(t, spec("late"))
	w.Link().Close()
	want := fmt.Sprint(0, io.ErrClosedPipe, io.ErrClosedPipe)
	if exit := exitOf(t, w); exit.Stderr != want {
		t.Errorf("%#v, want %s", exit, want)
	}
}

func TestOutputInOrder(t *testing.T) {
	s := spec("both")
	var got []string
	s.Output = func(line []byte) { got = append(got, string(line)) } // one goroutine, done before Done
	exit := exitOf(t, start(t, s))
	var want []string
	for i := range 200 {
		want = append(want, fmt.Sprint("out ", i), fmt.Sprint("err ", i))
	}
	want = append(want, "unterminated")
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %d lines %.200q", len(got), got)
	}
	if tail := strings.Join(want[len(want)-40:], "\n"); exit.Stderr != tail {
		t.Errorf("Stderr %q", exit.Stderr)
	}
}

func TestOutputLongLines(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	s := spec("print")
	var got []string
	s.Output = func(line []byte) { got = append(got, string(line)) }
	w := start(t, s)
	fmt.Fprintf(w.Link(), "short\n%s\n\n%s%sy\nend", long, long, long)
	w.Link().Close()
	exitOf(t, w)
	want := []string{"short", long, "", long, long, "y", "end"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d lines", len(got))
	}
}

func TestExitCodes(t *testing.T) {
	for _, code := range []int{0, 1, 3, 125} {
		got := exitOf(t, start(t, spec("exit", strconv.Itoa(code))))
		if got != (launch.Exit{Code: code}) {
			t.Errorf("%#v, want code %d", got, code)
		}
	}
	w := start(t, spec("end"))
	w.Link().Close()
	if got := exitOf(t, w); got != (launch.Exit{Code: 7}) {
		t.Errorf("End(7) at the end of the link: %#v", got)
	}
}

func TestCrashKeepsItsHead(t *testing.T) {
	exit := exitOf(t, start(t, spec("panic")))
	if exit.Code != 2 || exit.OutOfMemory {
		t.Errorf("%#v", exit)
	}
	head, tail, found := strings.Cut(exit.Stderr, "\n…\n")
	if !found || !strings.HasPrefix(head, "panic: the reason\n") || strings.Count(head, "\n") != 15 {
		t.Errorf("head of the crash: %q", head)
	}
	if !strings.Contains(tail, "TestMain") {
		t.Errorf("tail of the crash: %q", tail)
	}
	if len(exit.Stderr) > 8<<10 {
		t.Errorf("%d bytes", len(exit.Stderr))
	}
}

func TestDirEnvStdin(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("ONE", "caller")
	s := spec("where")
	s.ID, s.Dir = "name", dir
	s.Env = append(s.Env, "ONE=first", "TWO=b=c", "ONE=last")
	w := start(t, s)
	image, err := launch.ImageID()
	if err != nil {
		t.Fatal(err)
	}
	want := dir + `|<nil>|""|last|b=c|[]|1|name|` + image
	if got := readLine(t, w.Link()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSpecErrors(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	if _, err := launch.Local(launch.Spec{Dir: absent}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), absent) {
		t.Errorf("absent directory: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := launch.Local(launch.Spec{Dir: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("file as directory: %v", err)
	}
	for _, entry := range []string{"", "NOVALUE", "NUL=\x00"} {
		if _, err := launch.Local(launch.Spec{Env: []string{entry}}); err == nil {
			t.Errorf("environment entry %q was taken", entry)
		}
	}
}

func TestForgottenMain(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=forgot")
	out, err := cmd.Output()
	if err != nil || string(out) != "afar: call afar.Main() first in main (or in TestMain)\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestInheritOnce(t *testing.T) {
	if in, isWorker, err := launch.Inherit(); in != nil || isWorker || err != nil {
		t.Errorf("in a test: %v %v %v", in, isWorker, err)
	}
	for _, value := range []string{"", "3", "a,b", "-1,-1", "1000000,1000001"} {
		t.Setenv("AFAR_LINK", value)
		in, isWorker, err := launch.Inherit()
		if in != nil || !isWorker || err == nil {
			t.Errorf("AFAR_LINK=%q: %v %v %v", value, in, isWorker, err)
		}
		if _, ok := os.LookupEnv("AFAR_LINK"); ok {
			t.Error("AFAR_LINK is still there")
		}
	}
}

func TestKillAfterExit(t *testing.T) {
	w := start(t, spec("exit", "3"))
	exitOf(t, w)
	for range 3 {
		if err := w.Kill(); err != nil {
			t.Error(err)
		}
	}
	if w.RSS() != 0 {
		t.Error("memory of a dead worker")
	}
	if got := w.Exit().String(); got != "exit status 3" {
		t.Error(got)
	}
}

func TestConcurrentKillAndExit(t *testing.T) {
	for i := range 20 {
		s := spec("end")
		if i%2 == 0 {
			s = spec("exit", "5") // It may win.
		}
		w := start(t, s)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if err := w.Kill(); err != nil {
					t.Error(err)
				}
			})
			group.Go(func() { w.RSS() })
			group.Go(func() {
				e := w.Exit()
				if e.String() != "signal: killed" && e.String() != "exit status 5" {
					t.Error(e)
				}
			})
		}
		group.Wait()
	}
}
