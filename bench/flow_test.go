package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"testing/iotest"
	"time"
)

// poured gives the bytes of a short flow, and how many payloads they are.
func poured(t *testing.T, f flow) ([]byte, uint64) {
	t.Helper()
	var b bytes.Buffer
	n, err := f.pour(&b, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), n
}

// TestDrainTakesAnyPieces reads flows whole, byte by byte and in halves.
func TestDrainTakesAnyPieces(t *testing.T) {
	for _, f := range []flow{smallFlow, smallItems, largeFlow} {
		sent, n := poured(t, f)
		for name, r := range map[string]io.Reader{
			"whole":  bytes.NewReader(sent),
			"bytes":  iotest.OneByteReader(bytes.NewReader(sent)),
			"halves": iotest.HalfReader(bytes.NewReader(sent)),
		} {
			d := drain{flow: f}
			if err := d.readFrom(r); err != nil || d.next != n {
				t.Errorf("payloads of %d B, %s: %d of %d, %v", f.size, name, d.next, n, err)
			}
		}
	}
}

// TestDrainNoticesWrongPayloads spoils a flow in every way.
func TestDrainNoticesWrongPayloads(t *testing.T) {
	size := smallFlow.size
	for name, spoil := range map[string]func(b []byte) []byte{
		"a wrong number":        func(b []byte) []byte { b[3*size] ^= 1; return b },
		"a wrong last byte":     func(b []byte) []byte { b[4*size-1] ^= 1; return b },
		"a payload missing":     func(b []byte) []byte { return slices.Delete(b, 3*size, 4*size) },
		"a payload twice":       func(b []byte) []byte { return slices.Insert(b, 3*size, b[2*size:3*size]...) },
		"a byte missing":        func(b []byte) []byte { return slices.Delete(b, 3*size+20, 3*size+21) },
		"no end":                func(b []byte) []byte { return b[:len(b)-size] },
		"more after the end":    func(b []byte) []byte { return append(b, '.') },
		"two payloads swapped":  func(b []byte) []byte { b[2*size], b[3*size] = b[3*size], b[2*size]; return b },
		"nothing but the start": func(b []byte) []byte { return b[:5] },
	} {
		sent, _ := poured(t, smallFlow)
		d := drain{flow: smallFlow}
		if err := d.readFrom(bytes.NewReader(spoil(slices.Clone(sent)))); err == nil {
			t.Errorf("%s was not noticed", name)
		}
	}
}

// TestItemsAreChecked gives each kind of items what it made, and what it did not.
func TestItemsAreChecked(t *testing.T) {
	t.Run("strings", func(t *testing.T) { checkItems(t, newTextItems(), text(8)) })
	t.Run("ints", func(t *testing.T) { checkItems(t, newIntItems(), 8) })
	t.Run("bytes", func(t *testing.T) { checkItems(t, smallFlow.items(), message(8)) })
	t.Run("short bytes", func(t *testing.T) { checkItems(t, smallFlow.items(), message(7)[:63]) })
}

func checkItems[T any](t *testing.T, k items[T], wrong T) {
	t.Helper()
	if ended, err := k.check(k.make(7), 7); ended || err != nil {
		t.Errorf("item 7: %v, %v", ended, err)
	}
	if _, err := k.check(wrong, 7); err == nil {
		t.Error("a wrong item was not noticed")
	}
	if ended, err := k.check(k.last, 7); !ended || err != nil {
		t.Errorf("the end: %v, %v", ended, err)
	}
}

// TestPassRoundCounts checks that a lost payload and both sides' errors are noticed, and that the link is cut then.
func TestPassRoundCounts(t *testing.T) {
	broken := errors.New("broken")
	gives := func(n uint64, err error) func() (uint64, error) { return func() (uint64, error) { return n, err } }
	for _, c := range []struct {
		name          string
		send, receive func() (uint64, error)
		fails, cuts   bool
	}{
		{"all came", gives(3, nil), gives(3, nil), false, false},
		{"one is missing", gives(3, nil), gives(2, nil), true, false},
		{"sending fails", gives(3, broken), gives(3, nil), true, true},
		{"receiving fails", gives(3, nil), gives(3, broken), true, true},
	} {
		cut := false
		_, err := passRound(c.send, c.receive, func() error { cut = true; return nil })
		if (err != nil) != c.fails || cut != c.cuts {
			t.Errorf("%s: got %v, cut: %v", c.name, err, cut)
		}
	}
}

// TestTimeCallsKeepsToItsRoom checks both ends of a measurement, and that an error ends it.
func TestTimeCallsKeepsToItsRoom(t *testing.T) {
	calls := 0
	call := func(context.Context) error { calls++; return nil }
	got, err := timeCalls(t.Context(), call, time.Hour, make([]float64, 10))
	if err != nil || calls != 10 || got.mean <= 0 || got.p99 <= 0 {
		t.Errorf("%d calls gave %+v, %v", calls, got, err)
	}
	if _, err := timeCalls(t.Context(), call, 0, make([]float64, 10)); err != nil || calls != 11 {
		t.Errorf("%d calls in no time, %v", calls-10, err)
	}
	fails := func(context.Context) error { return errWrongReply }
	if _, err := timeCalls(t.Context(), fails, time.Hour, make([]float64, 10)); !errors.Is(err, errWrongReply) {
		t.Errorf("got %v", err)
	}
}

// TestResidentWatch watches this process while it takes 16 MiB.
func TestResidentWatch(t *testing.T) {
	w, err := watchResident(os.Getpid(), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte{1}, 16<<20)
	growth := w.stop()
	if growth[0] < 8 || growth[1] < 8 {
		t.Errorf("%d more bytes were a growth of %v MiB", len(block), growth)
	}
	if again := w.stop(); !slices.Equal(again, growth) {
		t.Errorf("stopped twice: %v, %v", growth, again)
	}
	if _, err := watchResident(0); err == nil {
		t.Error("a process that is none was watched")
	}
}
