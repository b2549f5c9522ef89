package main

import (
	"context"
	"errors"
	"io/fs"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afar-go/afar"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	afar.Main()
	goleak.VerifyTestMain(m)
}

func Example() {
	dir, err := os.MkdirTemp("", "pipeline")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "text")
	if err := os.WriteFile(path, []byte("To be, or not to be:\nthat is the question.\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	if err := run(context.Background(), path, 3, os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 8 different words
	//      2 be
	//      2 to
	//      1 is
}

// open opens three workers.
func open(t *testing.T) *afar.Pool {
	t.Helper()
	pool, err := afar.Config{Log: slog.DiscardHandler}.Open(t.Context(), "local:3")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

func write(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMany sends far more through the pipeline than its channels hold.
func TestMany(t *testing.T) {
	const lines = 20_000
	path := write(t, strings.Repeat("five words in every line\n", lines))
	tallies, err := countWords(t.Context(), open(t).Gateways(), path)
	if err != nil {
		t.Fatal(err)
	}
	if len(tallies) != 5 {
		t.Errorf("%d different words", len(tallies))
	}
	for _, tally := range tallies {
		if tally.Count != lines {
			t.Errorf("%s: %d", tally.Word, tally.Count)
		}
	}
}

// TestBadLine gives the second stage a line that it fails on. That ends the
// others, and the reason arrives; the workers are there for the next file.
func TestBadLine(t *testing.T) {
	pool := open(t)
	text := strings.Repeat("good\n", 1000) + "bad \xff\n" + strings.Repeat("never counted\n", 100_000)
	tallies, err := countWords(t.Context(), pool.Gateways(), write(t, text))
	var bad *badLine
	if !errors.As(err, &bad) || bad.Number != 1001 {
		t.Errorf("%d tallies, error %v", len(tallies), err)
	}
	if tallies, err = countWords(t.Context(), pool.Gateways(), write(t, "good")); err != nil || len(tallies) != 1 {
		t.Errorf("afterwards: %v, error %v", tallies, err)
	}
}

// TestNoFile has the first stage fail before it has sent anything.
func TestNoFile(t *testing.T) {
	_, err := countWords(t.Context(), open(t).Gateways(), filepath.Join(t.TempDir(), "gone"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// feed starts the last two stages and stands in for the first.
func feed(t *testing.T, pool *afar.Pool) (*afar.Channel[line, nothing], *afar.Channel[word, tally]) {
	t.Helper()
	counter, err := counting.Start(t.Context(), pool.Gateways()[2])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = counter.Close() })
	tokenizer, err := tokenizing.Start(t.Context(), pool.Gateways()[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tokenizer.Close() })
	for _, l := range []line{{To: counter.Ref()}, {Number: 1, Text: "one"}} {
		if err := tokenizer.Send(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	return tokenizer, counter
}

// TestReason shows that the error of one stage reaches the next one through the
// handle alone, also when nobody watches the stages.
func TestReason(t *testing.T) {
	tokenizer, counter := feed(t, open(t))
	if err := tokenizer.Send(t.Context(), line{Number: 2, Text: "bad \xff"}); err != nil {
		t.Fatal(err)
	}
	_, err := counter.Recv(t.Context())
	var bad *badLine
	if !errors.As(err, &bad) || bad.Number != 2 {
		t.Errorf("the counter: %v", err)
	}
	if err := tokenizer.Wait(t.Context()); !errors.As(err, &bad) {
		t.Errorf("the tokenizer: %v", err)
	}
}

// TestLostWorker kills the worker of the last stage. The stage before it ends
// when it sends something there.
func TestLostWorker(t *testing.T) {
	pool := open(t)
	tokenizer, counter := feed(t, pool)
	if err := pool.Gateways()[2].Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := counter.Recv(t.Context()); !errors.Is(err, afar.ErrWorkerLost) {
		t.Errorf("the counter: %v", err)
	}
	for number := 2; ; number++ {
		if err := tokenizer.Send(t.Context(), line{Number: number, Text: "more"}); err != nil {
			break
		}
	}
	// Its Send gave it the reason; or it had not bound the handle by then, which is closed now.
	if err := tokenizer.Wait(t.Context()); !errors.Is(err, afar.ErrWorkerLost) && !errors.Is(err, afar.ErrClosed) {
		t.Errorf("the tokenizer: %v", err)
	}
}
