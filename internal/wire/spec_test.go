package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// examples returns the blocks of SPEC.md that begin with ```hex and a name.
func examples(t *testing.T) map[string][]byte {
	t.Helper()
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, block := range strings.Split(string(spec), "\n```hex ")[1:] {
		name, rest, _ := strings.Cut(block, "\n")
		body, _, _ := strings.Cut(rest, "```")
		for line := range strings.Lines(body) {
			digits, _, _ := strings.Cut(line, ";")
			b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
			if err != nil {
				t.Fatalf("example %s: %v", name, err)
			}
			all[name] = append(all[name], b...)
		}
	}
	return all
}

// Messages that SPEC.md shows.
func specCalls() []byte {
	info := &wire.Info{Function: 3, Attempt: 1, LogLevel: -4, Timeout: time.Second, MaxAttempts: 5,
		Header: map[string]string{"trace": "a1"}}
	msg := append(wire.AppendCall(wire.AppendCalls(nil, 7, 2), info, 3), 0x63, 0x41, 0x31)
	return append(wire.AppendCall(msg, nil, 1), 2)
}

func specCallsWithin() []byte {
	info := &wire.Info{Attempt: 1, Remaining: 4 * time.Second, NoLog: true, Depth: 1, ParentChunk: 7, ParentIndex: 1}
	return append(wire.AppendCall(wire.AppendCalls(nil, 1, 1), info, 1), 0xf6)
}

func specResults() []byte {
	fault := specFault()
	msg := append(wire.AppendResult(wire.AppendResults(nil, 7, 0, 2, time.Millisecond), wire.StatusLogged, 2, 2), 0x61, 0x7a)
	return append(wire.AppendResult(msg, wire.StatusFailed, 0, len(fault)), fault...)
}

func specFault() []byte { return (&wire.Fault{Type: "*e.Errors"}).Append(nil) }

func specNumbers() []byte {
	var b []byte
	for _, n := range []uint64{0, 127, 128} {
		b = binary.AppendUvarint(b, n)
	}
	b = wire.AppendInt(b, math.MaxInt32)
	b = wire.AppendVarint(wire.AppendVarint(b, -2), 2)
	return wire.AppendText(b, "hi")
}

// specRecord and specProgress are what peer encodes, put together from the
// encoders that it uses.
func specRecord(t *testing.T) []byte {
	t.Helper()
	at, err := time.Date(2026, 11, 20, 15, 4, 5, 0, time.UTC).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	b := wire.AppendInt(binary.AppendUvarint([]byte{0}, 7), 0)
	b = wire.AppendVarint(wire.AppendBytes(b, at), 4)
	b = wire.AppendInt(wire.AppendText(b, "hello"), 2)
	b = wire.AppendVarint(append(wire.AppendText(b, "n"), 1), -7)
	b = wire.AppendInt(append(wire.AppendText(b, "g"), 7), 1)
	return wire.AppendText(append(wire.AppendText(b, "k"), 0), "v")
}

func specProgress() []byte {
	b := wire.AppendInt(binary.AppendUvarint([]byte{1}, 7), 0)
	return wire.AppendVarint(wire.AppendVarint(b, 10), 100)
}

// What SPEC.md shows is what the encoders write. The examples whose names begin
// with frame- are checked in internal/mux.
func TestSpec(t *testing.T) {
	want := map[string][]byte{
		"numbers": specNumbers(),
		"hello-caller": (&wire.Hello{Version: 1, Worker: "local-1", System: "linux/amd64", Go: "go1.26", PID: 1234,
			Concurrency: 1, MaxItem: 64 << 20, Keepalive: 10 * time.Second, Home: []string{"r", "w"}}).Append(nil),
		"hello-worker": (&wire.Hello{Version: 1, Image: "im", Worker: "local-1", Host: "h", System: "linux/amd64", Go: "go1.26",
			PID: 1235, Functions: []string{"main.f(int) string"}}).Append(nil),
		"calls":         specCalls(),
		"calls-within":  specCallsWithin(),
		"results":       specResults(),
		"release":       wire.AppendPlace(nil, wire.TypeRelease, wire.Place{Chunk: 7, Index: 1}),
		"park":          wire.AppendPlace(nil, wire.TypePark, wire.Place{Chunk: 7}),
		"unpark":        wire.AppendPlace(nil, wire.TypeUnpark, wire.Place{Chunk: 7}),
		"cancel":        (&wire.Cancel{Place: wire.Place{Chunk: 7, Index: wire.Whole}, Cause: specFault()}).Append(nil),
		"note-progress": specProgress(),
		"note-record":   specRecord(t),
		"fault-plain":   specFault(),
		"fault": (&wire.Fault{Type: "err", Message: "boom", Stack: "g 1", Panic: true, Sentinels: []string{"io.EOF"},
			Typed: []wire.Typed{{Name: "T", Data: []byte{0xa1, 0xf6}}}}).Append(nil),
	}
	maps.Copy(want, specStreams())
	shown := examples(t)
	for name, data := range shown {
		if strings.HasPrefix(name, "frame-") {
			continue
		}
		if w, ok := want[name]; !ok {
			t.Errorf("%s: no test knows this example", name)
		} else if !bytes.Equal(data, w) {
			t.Errorf("%s: SPEC.md shows\n% x, the encoder writes\n% x", name, data, w)
		}
	}
	for name := range want {
		if shown[name] == nil {
			t.Errorf("SPEC.md has no example %s", name)
		}
	}
	for _, name := range []string{"hello-caller", "hello-worker", "calls", "calls-within", "results", "release", "park", "unpark", "cancel"} {
		if err := decode(shown[name]); err != nil {
			t.Errorf("%s does not decode: %v", name, err)
		}
	}
}

// The limits and names that SPEC.md states are those of the code.
func TestSpecKindsAndLimits(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := []string{"version 1\n", "at most 66,560 |"}
	for k := wire.Message; k <= wire.Shared; k++ {
		rows = append(rows, fmt.Sprintf("\n| %d | %v | ", k, k))
	}
	for _, row := range rows {
		if !strings.Contains(string(spec), row) {
			t.Errorf("SPEC.md does not have %q", row)
		}
	}
	if wire.Version != 1 || wire.MaxFrame != 66560 || wire.Whole != math.MaxInt32 {
		t.Error("SPEC.md states other limits")
	}
}
