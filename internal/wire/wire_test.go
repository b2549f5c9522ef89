package wire_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/afar-go/afar/internal/wire"
)

// wholeDuration draws a duration that is not negative, often a round one.
func wholeDuration() *rapid.Generator[time.Duration] {
	return rapid.Map(rapid.Int64Range(0, math.MaxInt64), func(n int64) time.Duration { return time.Duration(n) })
}

func number() *rapid.Generator[int] { return rapid.IntRange(0, math.MaxInt32) }

func header() *rapid.Generator[wire.Header] {
	return rapid.Custom(func(t *rapid.T) wire.Header {
		h := wire.Header{Kind: wire.Kind(rapid.IntRange(int(wire.Message), int(wire.Finish)).Draw(t, "kind")),
			Length: rapid.IntRange(0, wire.MaxFrame).Draw(t, "length")}
		if h.Kind >= wire.Open {
			h.Stream = rapid.Uint64Range(1, 1<<60-1).Draw(t, "stream")
		}
		return h
	})
}

func info() *rapid.Generator[*wire.Info] {
	return rapid.Custom(func(t *rapid.T) *wire.Info {
		i := &wire.Info{
			Function:    number().Draw(t, "function"),
			Attempt:     number().Draw(t, "attempt"),
			MaxAttempts: number().Draw(t, "max attempts"),
			Timeout:     wholeDuration().Draw(t, "timeout"),
			Grace:       wholeDuration().Draw(t, "grace"),
			Remaining:   wholeDuration().Draw(t, "remaining"),
			LogLevel:    rapid.Int().Draw(t, "level"),
			NoLog:       rapid.Bool().Draw(t, "no log"),
			Depth:       number().Draw(t, "depth"),
		}
		if i.Depth > 0 {
			i.ParentChunk = rapid.Uint64().Draw(t, "parent chunk")
			i.ParentIndex = number().Draw(t, "parent index")
		}
		if h := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "header"); len(h) > 0 {
			i.Header = h
		}
		return i
	})
}

func fault() *rapid.Generator[*wire.Fault] {
	return rapid.Custom(func(t *rapid.T) *wire.Fault {
		f := &wire.Fault{
			Type:     rapid.String().Draw(t, "type"),
			Message:  rapid.String().Draw(t, "message"),
			Stack:    rapid.String().Draw(t, "stack"),
			Worker:   rapid.String().Draw(t, "worker"),
			Panic:    rapid.Bool().Draw(t, "panic"),
			Canceled: rapid.Bool().Draw(t, "canceled"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "sentinels") {
			f.Sentinels = append(f.Sentinels, rapid.String().Draw(t, "sentinel"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "typed") {
			f.Typed = append(f.Typed, wire.Typed{Name: rapid.String().Draw(t, "name"), Data: data(t)})
		}
		return f
	})
}

// data draws bytes; none are nil, as decoders give them.
func data(t *rapid.T) []byte {
	return append([]byte(nil), rapid.SliceOf(rapid.Byte()).Draw(t, "data")...)
}

// body is a Reader of what follows the type of a message.
func body(t interface{ Fatalf(string, ...any) }, msg []byte, want wire.Type) *wire.Reader {
	r := wire.NewReader(msg)
	if got := wire.Type(r.Byte()); got != want {
		t.Fatalf("type %d, want %d", got, want)
	}
	return r
}

// same fails when got is not want, or err is one.
func same(t *rapid.T, got, want any, err error) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := header().Draw(t, "header")
		data := wire.AppendHeader([]byte{}, want)
		for end := range data {
			if _, size, err := wire.ParseHeader(data[:end]); size != 0 || err != nil {
				t.Fatalf("%d of %d bytes gave a header of %d, %v", end, len(data), size, err)
			}
		}
		got, size, err := wire.ParseHeader(append(data, 0xff))
		same(t, got, want, err)
		if size != len(data) || size > wire.MaxHeader {
			t.Fatalf("size %d of %d", size, len(data))
		}
	})
}

func TestHeadersThatAreRefused(t *testing.T) {
	long := strings.Repeat("\xff", 10)
	for name, data := range map[string]string{
		"unknown kind 15":         "\x0f\x00",
		"frame over the limit":    "\x00\x81\x88\x04",
		"length of 63 bits":       "\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"message on a stream":     "\x10\x00",
		"item on stream 0":        "\x07\x00",
		"shared on a stream":      "\x1e\x00",
		"tag over 64 bits":        long,
		"tag over 64 bits, short": long[:9] + "\x7f",
		"length over 64 bits":     "\x00" + long,
	} {
		if h, size, err := wire.ParseHeader([]byte(data)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %+v of %d bytes, %v", name, h, size, err)
		}
	}
	if h, _, err := wire.ParseHeader([]byte("\x00\x80\x88\x04")); err != nil || h.Length != wire.MaxFrame {
		t.Errorf("the largest frame: %+v, %v", h, err)
	}
}

func TestKindNames(t *testing.T) {
	if got := wire.GoAway.String(); got != "go-away" {
		t.Errorf("GoAway is %q", got)
	}
	if got := wire.Kind(15).String(); got != "kind(15)" {
		t.Errorf("kind 15 is %q", got)
	}
}

func TestHelloRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(label string) string { return rapid.String().Draw(t, label) }
		want := &wire.Hello{Version: wire.Version, Image: text("image"), Worker: text("worker"), Host: text("host"), Home: []string{text("root"), text("home")},
			PID: number().Draw(t, "pid"), System: text("system"), Go: text("go"),
			Concurrency: number().Draw(t, "concurrency"),
			MaxItem:     rapid.Int64Range(0, math.MaxInt64).Draw(t, "max item"),
			Keepalive:   wholeDuration().Draw(t, "keepalive")}
		for range rapid.IntRange(0, 5).Draw(t, "functions") {
			want.Functions = append(want.Functions, text("function"))
		}
		got, err := wire.ParseHello(body(t, want.Append(nil), wire.TypeHello))
		same(t, got, want, err)
	})
}

func TestHelloOfAnotherVersionIsOnlyItsVersion(t *testing.T) {
	for _, rest := range []string{"", "whatever follows"} {
		h, err := wire.ParseHello(wire.NewReader(append([]byte{wire.Version + 1}, rest...)))
		if err != nil || !reflect.DeepEqual(h, &wire.Hello{Version: wire.Version + 1}) {
			t.Errorf("%+v, %v", h, err)
		}
	}
}

func TestCallsRoundTrip(t *testing.T) {
	type call struct {
		Info  *wire.Info
		Input string
	}
	rapid.Check(t, func(t *rapid.T) {
		chunk := rapid.Uint64().Draw(t, "chunk")
		n := rapid.IntRange(1, 5).Draw(t, "calls")
		msg := wire.AppendCalls(nil, chunk, n)
		var want []call
		var last *wire.Info
		for range n {
			next := last
			if last == nil || rapid.Bool().Draw(t, "other info") {
				next = info().Draw(t, "info")
				msg = wire.AppendCall(msg, next, 0)
			} else {
				msg = wire.AppendCall(msg, nil, 0)
			}
			last = next
			input := data(t)
			// The length that AppendCall wrote is that of an empty input.
			msg = wire.AppendBytes(msg[:len(msg)-1], input)
			want = append(want, call{next, string(input)})
		}
		r := body(t, msg, wire.TypeCalls)
		gotChunk, gotN, err := wire.ParseCalls(r)
		same(t, []any{gotChunk, gotN}, []any{chunk, n}, err)
		last = nil
		for i := range want {
			in, input, err := wire.ParseCall(r, last)
			same(t, call{in, string(input)}, want[i], err)
			if i > 0 && want[i].Info == want[i-1].Info && in != last {
				t.Fatalf("the info of call %d was not shared", i)
			}
			last = in
		}
		same(t, nil, nil, r.End())
	})
}

func TestResultsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunk, first := rapid.Uint64().Draw(t, "chunk"), number().Draw(t, "first")
		elapsed := wholeDuration().Draw(t, "elapsed")
		var want []wire.Result
		for range rapid.IntRange(0, 5).Draw(t, "results") {
			x := wire.Result{Status: byte(rapid.IntRange(0, 7).Draw(t, "status")), Payload: data(t)}
			if x.Status&wire.StatusLogged != 0 {
				x.Logged = rapid.Uint64().Draw(t, "logged")
			}
			want = append(want, x)
		}
		msg := wire.AppendResults(nil, chunk, first, len(want), elapsed)
		for _, x := range want {
			msg = append(wire.AppendResult(msg, x.Status, x.Logged, len(x.Payload)), x.Payload...)
		}
		r := body(t, msg, wire.TypeResults)
		gotChunk, gotFirst, gotN, gotElapsed, err := wire.ParseResults(r)
		same(t, []any{gotChunk, gotFirst, gotN, gotElapsed}, []any{chunk, first, len(want), elapsed}, err)
		for _, x := range want {
			got, err := wire.ParseResult(r)
			got.Payload = append([]byte(nil), got.Payload...)
			same(t, got, x, err)
		}
		same(t, nil, nil, r.End())
	})
}

func TestPlaceRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := wire.Place{Chunk: rapid.Uint64().Draw(t, "chunk"), Index: number().Draw(t, "index")}
		kind := rapid.SampledFrom([]wire.Type{wire.TypeRelease, wire.TypePark, wire.TypeUnpark}).Draw(t, "type")
		msg := wire.AppendPlace(nil, kind, want)
		got, err := wire.ParsePlace(body(t, msg, kind))
		same(t, got, want, err)
		if _, err := wire.ParsePlace(body(t, append(msg, 0), kind)); !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("a byte too many: %v", err)
		}
	})
}

func TestCancelRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &wire.Cancel{Place: wire.Place{Chunk: rapid.Uint64().Draw(t, "chunk"), Index: number().Draw(t, "index")},
			Cause: fault().Draw(t, "cause").Append(nil)}
		got, err := wire.ParseCancel(body(t, want.Append(nil), wire.TypeCancel))
		same(t, got, want, err)
	})
}

func TestFaultRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := fault().Draw(t, "fault")
		got, err := wire.ParseFault(want.Append(nil))
		same(t, got, want, err)
	})
}

func TestNumbersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u, v := rapid.Uint64().Draw(t, "unsigned"), rapid.Int64().Draw(t, "signed")
		n, l := number().Draw(t, "int"), rapid.Int64Range(0, math.MaxInt64).Draw(t, "long")
		msg := wire.AppendLong(wire.AppendInt(wire.AppendVarint(nil, v), n), l)
		r := wire.NewReader(wire.AppendVarint(msg, int64(u)))
		same(t, []any{r.Varint(), r.Int(), r.Long(), uint64(r.Varint())}, []any{v, n, l, u}, r.End())
	})
}

// A policy that says "as often as you like" must not write what the far side
// refuses.
func TestNumbersOutOfRangeAreBroughtIntoIt(t *testing.T) {
	in := &wire.Info{Attempt: -1, MaxAttempts: math.MaxInt, Timeout: math.MaxInt64, Grace: -time.Second, Remaining: -1}
	msg := wire.AppendCall(wire.AppendCalls(nil, 1, 1), in, 0)
	r := body(t, msg, wire.TypeCalls)
	if _, _, err := wire.ParseCalls(r); err != nil {
		t.Fatal(err)
	}
	got, _, err := wire.ParseCall(r, nil)
	want := &wire.Info{MaxAttempts: math.MaxInt32, Timeout: math.MaxInt64}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	h, err := wire.ParseHello(body(t, (&wire.Hello{Version: wire.Version, PID: -1, Concurrency: math.MaxInt, MaxItem: -1, Keepalive: -1}).Append(nil), wire.TypeHello))
	if err != nil || !reflect.DeepEqual(h, &wire.Hello{Version: wire.Version, Concurrency: math.MaxInt32}) {
		t.Errorf("got %+v, %v", h, err)
	}
}

func TestMessagesThatAreRefused(t *testing.T) {
	for name, data := range map[string]string{
		"nothing":                       "",
		"hello without version":         "\x01",
		"hello cut short":               "\x01\x01\x03ab",
		"hello with a tail":             "\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"hello of more homes":           "\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05",
		"hello of more functions":       "\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05",
		"hello with a pid of 32 bits":   "\x01\x01\x00\x00\x00\x00\x00\x80\x80\x80\x80\x10\x00\x00\x00\x00",
		"empty chunk":                   "\x02\x01\x00",
		"more calls than bytes":         "\x02\x01\x05\x00",
		"call before any info":          "\x02\x01\x01\x00\x00",
		"unknown call form":             "\x02\x01\x01\x02\x00",
		"unknown flag of an info":       "\x02\x01\x01\x01\x40\x00\x01\x00\x00",
		"input longer than its message": "\x02\x01\x01\x01\x00\x00\x01\x00\x05x",
		"bytes after the last call":     "\x02\x01\x01\x01\x00\x00\x01\x00\x00\x00",
		"more header than bytes":        "\x02\x01\x01\x01\x04\x00\x01\x00\x7f",
		"more results than bytes":       "\x03\x01\x00\x05\x00\x00\x00",
		"unknown status":                "\x03\x01\x00\x01\x00\x08\x00",
		"result without its number":     "\x03\x01\x00\x01\x00\x04",
		"elapsed of 64 bits":            "\x03\x01\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"index of 32 bits":              "\x04\x01\x80\x80\x80\x80\x08",
		"release with a tail":           "\x04\x01\x00\x00",
		"park cut short":                "\x05\x01",
		"number that never ends":        "\x06" + strings.Repeat("\xff", 20),
		"cancel without a cause":        "\x07\x01\x00",
		"cancel with a bad fault":       "\x07\x01\x00\x01\x04",
		"fault of more sentinels":       "\x07\x01\x00\x06\x00\x00\x00\x00\x00\x05",
		"fault of more typed errors":    "\x07\x01\x00\x07\x00\x00\x00\x00\x00\x00\x05",
		"fault with a tail":             "\x07\x01\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00",
		"type 0":                        "\x00",
		"type 8":                        "\x08",
	} {
		if err := decode([]byte(data)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReaderStaysFailed(t *testing.T) {
	r := wire.NewReader([]byte{0x80, 1, 1, 3})
	if r.Int(); r.Err() != nil {
		t.Fatal("128 is a number:", r.Err())
	}
	if r.Bytes(); r.Err() != nil {
		t.Fatal("one byte is left:", r.Err())
	}
	first := r.Byte() // 3 was the end
	err := r.Err()
	if first != 0 || err == nil || r.Len() != 0 || len(r.Rest()) != 0 {
		t.Errorf("Byte %d, %v, %d left", first, err, r.Len())
	}
	if r.Uvarint() != 0 || r.Text() != "" || r.Count() != 0 || r.Varint() != 0 || r.Long() != 0 || r.Flags(0) != 0 || r.Err() != err || r.End() != err {
		t.Errorf("a later read changed %v to %v", err, r.Err())
	}
}
