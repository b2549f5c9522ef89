package afar_test

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/afar-go/afar"
)

// openBeyond opens a target through a gateway.
func openBeyond(t *testing.T, g *afar.Gateway, target string) *afar.Gateway {
	t.Helper()
	beyond, err := g.Open(within(t), target)
	if err != nil {
		t.Fatal(err)
	}
	return beyond
}

// A worker that is opened through another is its child, and works like any; so is one
// that is opened through that, and so on.
func TestGatewaysThroughGateways(t *testing.T) {
	g := open(t, "local:1").Gateways()[0]
	pids := []int{os.Getpid()}
	for depth := range 4 {
		pid, err := workerID.On(g)(within(t), struct{}{})
		if err != nil || slices.Contains(pids, pid) {
			t.Fatalf("depth %d: process %d, %v; those above are %v", depth, pid, err, pids)
		}
		pids = append(pids, pid)
		sum := 0
		for v, err := range square.Map(within(t), g, slices.Values([]int{1, 2, 3})) {
			if err != nil {
				t.Fatal(err)
			}
			sum += v
		}
		if sum != 14 {
			t.Errorf("depth %d: sum %d", depth, sum)
		}
		target := "local:"
		if depth == 1 {
			target = "local:1?id=deep&env.AFAR_DEEP=yes"
		}
		next := openBeyond(t, g, target)
		want := g.ID() + "/local-1"
		if depth == 1 {
			want = "deep"
		}
		if next.ID() != want || next.Target() != target {
			t.Errorf("it is called %s, for %s", next.ID(), next.Target())
		}
		g = next
	}
	status, err := g.Status(within(t))
	if err != nil || status.State != afar.StateIdle || status.PID == 0 {
		t.Errorf("%+v, %v", status, err)
	}
}

// What a worker beyond prints arrives, and its loss has its cause; it is replaced.
func TestWorkerBeyondDies(t *testing.T) {
	var prints notebook
	pool := openWith(t, afar.Config{Stderr: &prints, Log: slog.DiscardHandler}, "local:1")
	beyond := openBeyond(t, pool.Gateways()[0], "local:1")
	strict := afar.With(beyond, afar.Policy{MaxAttempts: 1})
	_, err := mortal.On(strict)(within(t), death{Times: 1, Code: 3, Spoken: "last words"})
	var lost *afar.WorkerLostError
	if !errors.As(err, &lost) || lost.ExitCode != 3 || lost.Worker != beyond.ID() || !strings.Contains(lost.Stderr, "last words") {
		t.Fatalf("got %v", err)
	}
	if n, err := square.On(beyond)(within(t), 5); n != 25 || err != nil {
		t.Errorf("the next worker said %d, %v", n, err)
	}
	if text := prints.String(); !strings.Contains(text, "["+beyond.ID()+"] last words") {
		t.Errorf("printed %q", text)
	}
	pid, err := workerID.On(beyond)(within(t), struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	if err := beyond.Kill(); err != nil {
		t.Error(err)
	}
	if next, err := workerID.On(beyond)(within(t), struct{}{}); err != nil || next == pid {
		t.Errorf("after Kill: process %d, before %d; %v", next, pid, err)
	}
}

// When the worker that it goes through dies, a gateway loses its worker and opens
// another through the next one.
func TestTheWayThereDies(t *testing.T) {
	g := open(t, "local:1").Gateways()[0]
	beyond := openBeyond(t, g, "local:1")
	first, err := workerID.On(beyond)(within(t), struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	second, err := workerID.On(beyond)(within(t), struct{}{})
	if err != nil || second == first {
		t.Errorf("process %d, then %d, %v", first, second, err)
	}
}

// A gateway beyond ends when it is closed, and with the one that it goes through.
func TestGatewayBeyondEnds(t *testing.T) {
	pool := open(t, "local:1")
	g := pool.Gateways()[0]
	one, two := openBeyond(t, g, "local:1"), openBeyond(t, g, "local:1")
	deep := openBeyond(t, two, "local:1")
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	if _, err := square.On(one)(within(t), 1); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if n, err := square.On(deep)(within(t), 3); n != 9 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
	for _, g := range []*afar.Gateway{one, two, deep} {
		if _, err := square.On(g)(within(t), 1); !errors.Is(err, afar.ErrClosed) {
			t.Errorf("%s after the pool's Close: %v", g.ID(), err)
		}
	}
	if _, err := g.Open(within(t), "local:1"); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("Open after Close: %v", err)
	}
}

func TestGatewayOpenErrors(t *testing.T) {
	pool := openWith(t, afar.Config{Stderr: io.Discard}, "local:1", "inproc:1")
	for target, want := range map[string]string{
		"local:2":              "one worker at a time, not 2",
		"inproc:1":             "processes",
		"nowhere:1":            `unknown scheme "nowhere"`,
		"local:1?dir=/no/such": "/no/such",
		"exec:/no/such/sh":     "/no/such/sh",
		"exec:sh?workers=3":    "one worker at a time",
	} {
		for _, g := range pool.Gateways() {
			if _, err := g.Open(within(t), target); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s through %s: %v, which says nothing of %q", target, g.ID(), err, want)
			}
		}
	}
	if n, err := square.On(pool)(within(t), 2); n != 4 || err != nil {
		t.Errorf("the pool is not what it was: %d, %v", n, err)
	}
}

// A worker in this process opens processes too.
func TestOpenThroughInprocess(t *testing.T) {
	g := open(t, "inproc:1").Gateways()[0]
	beyond := openBeyond(t, g, "local:1")
	pid, err := workerID.On(beyond)(within(t), struct{}{})
	if err != nil || pid == os.Getpid() {
		t.Errorf("process %d, %v", pid, err)
	}
}
