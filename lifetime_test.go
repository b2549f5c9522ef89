package afar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// How workers begin and end. That they end with their caller, and their
// children with them, is shown by TestParity23NoProcessIsLeft.

const fileVariable = "AFAR_TEST_FILE"

func init() {
	// A program that does something else than to call afar.Main, for as long as
	// its caller lives.
	starts["deaf"] = func() {
		_, _ = io.Copy(io.Discard, os.NewFile(3, "link"))
		os.Exit(1)
	}
	starts["crash"] = crash
	starts["crash later"] = func() {
		if _, err := os.Stat(os.Getenv(fileVariable)); err == nil {
			crash()
		}
	}
	if os.Getenv(startVariable) == "another program" {
		afar.NamedFunc("only over there", adder(9))
	}
}

func crash() {
	fmt.Println("starting")
	fmt.Fprintln(os.Stderr, "cannot find my configuration")
	os.Exit(13)
}

// starting is a target whose workers start in one of the ways above.
func starting(how string) string {
	return "local:1?id=odd&env." + startVariable + "=" + strings.ReplaceAll(how, " ", "+")
}

// A worker that never calls Main is killed, and the error names it and what may
// be wrong.
func TestWorkerNeverCallsMain(t *testing.T) {
	c := afar.Config{StartTimeout: 100 * time.Millisecond, Stderr: io.Discard}
	pool, err := c.Open(within(t), starting("deaf"))
	if err == nil {
		_ = pool.Close()
		t.Fatal("Open succeeds")
	}
	for _, want := range []string{"odd", "hello", "100ms", "afar.Main()"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: nothing of %s", err, want)
		}
	}
	if hasChildren() {
		t.Error("it is still there")
	}
}

// A worker that crashes at its start is an error of Open, with the exit status
// and the last output; the workers that did start are ended.
func TestWorkerCrashesAtStart(t *testing.T) {
	var book notebook
	c := afar.Config{Stderr: &book, StartTimeout: patience}
	pool, err := c.Open(within(t), "local:2", starting("crash"))
	if err == nil {
		_ = pool.Close()
		t.Fatal("Open succeeds")
	}
	for _, want := range []string{"odd", "exit status 13", "cannot find my configuration"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: nothing of %s", err, want)
		}
	}
	var lost *afar.WorkerLostError
	if !errors.As(err, &lost) || lost.ExitCode != 13 || lost.Worker != "odd" || lost.PID == 0 {
		t.Errorf("%#v", lost)
	}
	if got := book.String(); !strings.Contains(got, "[odd] starting\n") {
		t.Errorf("printed: %s", got)
	}
	if hasChildren() {
		t.Error("a worker is still there")
	}
}

// A worker with other functions is refused, and the error names both sides.
func TestWorkerIsAnotherProgram(t *testing.T) {
	pool, err := afar.Open(within(t), starting("another program"))
	if err == nil {
		_ = pool.Close()
		t.Fatal("Open succeeds")
	}
	for _, want := range []string{"odd", "only here: none", "only there: only over there(int) int"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: nothing of %s", err, want)
		}
	}
}

// Open that is given up leaves nothing behind.
func TestOpenCanceled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(within(t))
	cancel(errors.New("not today"))
	pool, err := afar.Open(ctx, "local:2", "inproc:2")
	if err == nil {
		_ = pool.Close()
		t.Fatal("Open succeeds")
	}
	if !strings.Contains(err.Error(), "not today") {
		t.Error(err)
	}
	if hasChildren() {
		t.Error("a worker is still there")
	}
}

// What crashes at every start is not started for ever: it is reported, with the
// reason, to calls that wait and to later ones.
func TestCrashLoop(t *testing.T) {
	ctx := within(t)
	file := filepath.Join(t.TempDir(), "crash")
	pool := open(t, starting("crash later")+"&env."+fileVariable+"="+file)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := mortal.On(pool)(ctx, death{Times: 1, File: filepath.Join(t.TempDir(), "tally")})
	for _, want := range []string{"crash loop", "odd", "exit status 13", "cannot find my configuration"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: nothing of %s", err, want)
		}
	}
	if _, err := square.On(pool)(ctx, 1); err == nil || !strings.Contains(err.Error(), "crash loop") {
		t.Errorf("a later call: %v", err)
	}
	if _, err := square.On(pool.Gateways()[0])(ctx, 1); err == nil || !strings.Contains(err.Error(), "crash loop") {
		t.Errorf("a later call at the gateway: %v", err)
	}
	n := 0
	for _, err := range square.Map(ctx, pool, numbers(3)) {
		if n++; err == nil || !strings.Contains(err.Error(), "crash loop") {
			t.Errorf("a later map: %v", err)
		}
	}
	w := pool.Status().Workers[0]
	if w.State != afar.StateCrashLoop || w.Err == nil || !strings.Contains(w.Err.Error(), "crash loop") || w.PID != 0 || n == 0 {
		t.Errorf("%+v, %d outcomes", w, n)
	}
}

// The rest of a pool works on when one of its workers is in a crash loop.
func TestCrashLoopOfOne(t *testing.T) {
	ctx := within(t)
	file := filepath.Join(t.TempDir(), "crash")
	pool := open(t, starting("crash later")+"&env."+fileVariable+"="+file, "local:1")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	odd := pool.Gateways()[0]
	if err := odd.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := square.On(odd)(ctx, 1); err == nil || !strings.Contains(err.Error(), "crash loop") {
		t.Errorf("a call at the gateway: %v", err)
	}
	if _, err := square.On(odd)(ctx, 1); err == nil || !strings.Contains(err.Error(), "crash loop") {
		t.Errorf("a later one: %v", err)
	}
	index := 0
	for out, err := range square.Map(ctx, pool, numbers(300)) {
		if err != nil || out != index*index {
			t.Fatalf("%d, %v", out, err)
		}
		index++
	}
}

// A worker that dies while it has nothing to do is replaced.
func TestIdleWorkerIsReplaced(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:1")
	for range 3 {
		old := kill(t, pool.Gateways()[0])
		for {
			pid, err := workerID.On(pool)(ctx, struct{}{})
			if err != nil {
				t.Fatal(err)
			}
			if pid != old {
				break
			}
		}
	}
	if w := pool.Status().Workers[0]; w.Restarts != 3 {
		t.Errorf("%+v", w)
	}
}

// kill kills a gateway's worker behind its back, if there is one now.
func kill(t testing.TB, g *afar.Gateway) (pid int) {
	t.Helper()
	s, err := g.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if s.PID == 0 {
		return 0
	}
	p, err := os.FindProcess(s.PID)
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Kill() // it may be dead already
	return s.PID
}

var flood = afar.Func(printMuch)

func printMuch(_ context.Context, lines int) (int, error) {
	for i := range lines {
		fmt.Printf("%06d %s\n", i, strings.Repeat("x", 56))
	}
	fmt.Print("and no newline")
	return lines, nil
}

// The worker's standard output is not the wire: a function may print a
// megabyte, and it arrives line by line.
func TestStdoutIsNotTheWire(t *testing.T) {
	var book notebook
	pool := openWith(t, afar.Config{Stderr: &book}, "local:1?id=p")
	const lines = 1 << 14
	if n, err := flood.On(pool)(within(t), lines); n != lines || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := pool.Shutdown(within(t)); err != nil {
		t.Error(err)
	}
	got := strings.Split(book.String(), "\n")
	if len(got) != lines+2 || got[lines] != "[p] and no newline" || got[lines+1] != "" {
		t.Fatalf("%d lines, the last ones %q", len(got), got[max(0, len(got)-3):])
	}
	for i, line := range got[:lines] {
		if want := fmt.Sprintf("[p] %06d %s", i, strings.Repeat("x", 56)); line != want {
			t.Fatalf("line %d: %q", i, line)
		}
	}
}
