package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// decode decodes a message as peer does: by its type, to its end.
func decode(msg []byte) error {
	r := wire.NewReader(msg)
	switch t := wire.Type(r.Byte()); t {
	case wire.TypeHello:
		_, err := wire.ParseHello(r)
		return err
	case wire.TypeCalls:
		return decodeCalls(r)
	case wire.TypeCancel:
		m, err := wire.ParseCancel(r)
		if err != nil {
			return err
		}
		_, err = wire.ParseFault(m.Cause)
		return err
	case wire.TypeResults:
		return decodeResults(r)
	case wire.TypeRelease, wire.TypePark, wire.TypeUnpark:
		_, err := wire.ParsePlace(r)
		return err
	default:
		return fmt.Errorf("%w: unknown message type %d", wire.ErrMalformed, t)
	}
}

func decodeCalls(r *wire.Reader) error {
	_, n, err := wire.ParseCalls(r)
	if err != nil {
		return err
	}
	var info *wire.Info
	for range n {
		if info, _, err = wire.ParseCall(r, info); err != nil {
			return err
		}
	}
	return r.End()
}

func decodeResults(r *wire.Reader) error {
	_, _, n, _, err := wire.ParseResults(r)
	if err != nil {
		return err
	}
	for range n {
		x, err := wire.ParseResult(r)
		if err != nil {
			return err
		}
		if x.Status&wire.StatusFailed != 0 {
			if _, err := wire.ParseFault(x.Payload); err != nil {
				return err
			}
		}
	}
	return r.End()
}

// seeds are one message of each type.
func seeds() [][]byte {
	fault := someFault().Append(nil)
	info := &wire.Info{Function: 2, Attempt: 1, Depth: 1, MaxAttempts: 3, Timeout: time.Second, Grace: time.Second,
		Remaining: time.Minute, LogLevel: -4, NoLog: true, Header: map[string]string{"k": "v"}, ParentChunk: 7, ParentIndex: 1}
	calls := append(wire.AppendCall(wire.AppendCalls(nil, 9, 2), info, 3), "one"...)
	calls = append(wire.AppendCall(calls, nil, 3), "two"...)
	results := append(wire.AppendResult(wire.AppendResults(nil, 9, 0, 2, time.Millisecond), wire.StatusLogged, 4, 3), "out"...)
	results = append(wire.AppendResult(results, wire.StatusFailed|wire.StatusLate, 0, len(fault)), fault...)
	place := wire.Place{Chunk: 9, Index: 1}
	return [][]byte{
		(&wire.Hello{Version: wire.Version, Image: "i", Worker: "w", Host: "h", PID: 1, System: "s", Go: "g",
			Concurrency: 2, MaxItem: 1 << 20, Keepalive: time.Second, Functions: []string{"a", "b"}, Home: []string{"r", "w"}}).Append(nil),
		{byte(wire.TypeHello), wire.Version + 1, 0xff},
		calls, results,
		wire.AppendPlace(nil, wire.TypeRelease, place),
		wire.AppendPlace(nil, wire.TypePark, place),
		wire.AppendPlace(nil, wire.TypeUnpark, place),
		(&wire.Cancel{Place: wire.Place{Chunk: 9, Index: wire.Whole}, Cause: fault}).Append(nil),
	}
}

func someFault() *wire.Fault {
	return &wire.Fault{Type: "*fs.PathError", Message: "open x", Stack: "main.f()", Worker: "w", Panic: true, Canceled: true,
		Sentinels: []string{"io.EOF"}, Typed: []wire.Typed{{Name: "fs.PathError", Data: []byte{0xa0}}}}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x00, 0x80, 0x80, 0x04})
	f.Add([]byte{0x80, 0x80})
	f.Add(wire.AppendHeader(nil, wire.Header{Stream: 1<<60 - 1, Kind: wire.Reset, Length: 3}))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, size, err := wire.ParseHeader(data)
		switch {
		case err != nil:
			if size != 0 || !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("size %d, %v", size, err)
			}
		case size == 0:
			if len(data) >= wire.MaxHeader {
				t.Fatalf("%d bytes are no header yet", len(data))
			}
		default:
			again, n, err := wire.ParseHeader(wire.AppendHeader(nil, h))
			if err != nil || again != h || n > size || size > len(data) {
				t.Fatalf("%+v became %+v, %v", h, again, err)
			}
		}
	})
}

func FuzzMessage(f *testing.F) {
	for _, msg := range seeds() {
		if err := decode(msg); err != nil {
			f.Fatalf("seed % x: %v", msg, err)
		}
		f.Add(msg)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		was := bytes.Clone(msg)
		if err := decode(msg); err != nil && !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("error is not ErrMalformed: %v", err)
		}
		if !bytes.Equal(msg, was) {
			t.Fatal("decoding changed the message")
		}
	})
}

func FuzzFault(f *testing.F) {
	f.Add((&wire.Fault{}).Append(nil))
	f.Add(someFault().Append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		fault, err := wire.ParseFault(data)
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("error is not ErrMalformed: %v", err)
			}
			return
		}
		again, err := wire.ParseFault(fault.Append(nil))
		if err != nil || !reflect.DeepEqual(again, fault) {
			t.Fatalf("%+v became %+v, %v", fault, again, err)
		}
	})
}

// What decoders allocate is bounded by what they are given: a count alone must
// not make them reserve anything large.
func TestAllocationsAreBounded(t *testing.T) {
	const size, times = 1 << 10, 16
	for _, msg := range seeds() {
		for at := range msg {
			hostile := append(bytes.Clone(msg[:at]), bytes.Repeat([]byte{0x7f}, size)...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range times {
				_ = decode(hostile)
			}
			runtime.ReadMemStats(&after)
			if n := (after.TotalAlloc - before.TotalAlloc) / times; n > uint64(64*len(hostile)) {
				t.Errorf("% x, then 7f: %d bytes allocated for %d", msg[:at], n, len(hostile))
			}
		}
	}
}
