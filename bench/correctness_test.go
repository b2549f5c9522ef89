package main

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"testing"
	"time"
)

// lying gives a link whose far end lets corrupt change every chunk before it is sent back.
func lying(t *testing.T, corrupt func(b []byte)) *link {
	t.Helper()
	farIn, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in, farOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	near, far := &link{in: in, out: out}, &link{in: farIn, out: farOut}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 64<<10)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			corrupt(buf[:n])
			if _, err := far.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		near.Close()
		far.Close()
		<-ended
	})
	return near
}

func flipFirst(b []byte) { b[0] ^= 1 }
func honest([]byte)      {}

// TestWrongBytesAreNoticed checks every measurement over bare bytes with a far end that lies, and with one that
// does not.
func TestWrongBytesAreNoticed(t *testing.T) {
	const span = time.Millisecond
	measurements := map[string]func(l *link) error{
		"window of 1": func(l *link) error {
			_, err := windowRate(t.Context(), 1, span, l.Close, newMessageLane(l, l))
			return err
		},
		"window of 64": func(l *link) error {
			_, err := windowRate(t.Context(), 64, span, l.Close, newMessageLane(l, l))
			return err
		},
		"batch": func(l *link) error {
			_, err := batchRate(l, 64, span)
			return err
		},
		"items": func(l *link) error { return pump(l, 0, 100_000, func(int) {}) },
		"flow": func(l *link) error {
			d := drain{flow: smallFlow}
			_, err := passRound(
				func() (uint64, error) { return smallFlow.pour(l, span) },
				func() (uint64, error) { err := d.readFrom(l); return d.next, err },
				l.Close)
			return err
		},
	}
	for name, measure := range measurements {
		t.Run(name, func(t *testing.T) {
			if err := measure(lying(t, honest)); err != nil {
				t.Errorf("an honest far end: %v", err)
			}
			if err := measure(lying(t, flipFirst)); err == nil {
				t.Error("a lying far end was not noticed")
			}
		})
	}
}

// TestWrongReplyEndsCalls checks that one wrong reply among many goroutines' is the result of all.
func TestWrongReplyEndsCalls(t *testing.T) {
	_, err := callRate(t.Context(), 8, time.Hour, func(i int) func(context.Context) error {
		calls := 0
		return func(context.Context) error {
			calls++
			if i == 3 && calls == 100 {
				return errWrongReply
			}
			return nil
		}
	})
	if !errors.Is(err, errWrongReply) {
		t.Errorf("got %v", err)
	}
}

// results gives values without errors, then err if it is not nil.
func results(values []int, err error) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for _, v := range values {
			if !yield(v, nil) {
				return
			}
		}
		if err != nil {
			yield(0, err)
		}
	}
}

func TestCheckOrdered(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []int
		err    error
		fails  bool
	}{
		{"right", []int{0, 1, 2}, nil, false},
		{"swapped", []int{0, 2, 1}, nil, true},
		{"missing", []int{0, 1}, nil, true},
		{"one too many", []int{0, 1, 2, 3}, nil, true},
		{"an error", []int{0, 1}, io.ErrUnexpectedEOF, true},
	} {
		if err := checkOrdered(results(c.values, c.err), 3); (err != nil) != c.fails {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestTally(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []int
		fails  bool
	}{
		{"right", []int{2, 0, 1}, false},
		{"twice", []int{2, 2, 1}, true},
		{"missing", []int{2, 1}, true},
		{"unknown", []int{2, 0, 3}, true},
		{"negative", []int{2, 0, -1}, true},
	} {
		count := tally{seen: make([]bool, 3)}
		var err error
		for _, v := range c.values {
			if err == nil {
				err = count.add(v)
			}
		}
		if err == nil {
			err = count.complete()
		}
		if (err != nil) != c.fails {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

// TestTasksDependOnTheirSeeds checks that a result in the wrong place would be noticed.
func TestTasksDependOnTheirSeeds(t *testing.T) {
	if (task{Seed: 1, Rounds: 1}).work() == (task{Seed: 2, Rounds: 1}).work() {
		t.Error("two seeds gave one result")
	}
}

// TestHeapWatch feeds samples of which the figures are known.
func TestHeapWatch(t *testing.T) {
	w := newHeapWatch(heapSamples)
	for range heapSamples - 1 {
		w.pass()
	}
	if _, err := w.figures(); err == nil {
		t.Error("an incomplete run gave figures")
	}
	w.pass()
	for i := range w.samples {
		w.samples[i] = float64(i + 1)
	}
	got, err := w.figures()
	if err != nil || got[0] != heapSamples || got[1] != 38.0/4 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestParseStarts reads what the trivial program writes.
func TestParseStarts(t *testing.T) {
	got, err := parseStarts([]byte("1000000 2000000 1048576\n3000000 4000000 3145728\n"), 2)
	if err != nil || got[0] != 2 || got[1] != 3 || got[2] != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "1 2 3\n", "1 2 3\nx\n"} {
		if _, err := parseStarts([]byte(bad), 2); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
