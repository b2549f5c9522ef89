package codec

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// sortedMode writes maps in one order, so that values can be compared by their bytes, NaNs included.
var sortedMode = must(func() cbor.EncOptions {
	o := encMode.EncOptions()
	o.Sort = cbor.SortBytewiseLexical
	return o
}().EncMode())

// fuzzed has a field of every sort. Types with a text form that two parsers may read in two ways are left out.
type fuzzed struct {
	Bool   bool
	Int    int8
	Uint   uint32
	Float  float32
	Text   string
	Bytes  []byte
	Hash   [4]byte
	List   []int
	Map    map[string]float64
	IntMap map[int][]string
	Time   time.Time
	Took   time.Duration
	Addr   netip.Addr
	Big    *big.Int
	Any    any
	Next   *fuzzed
	Kids   map[bool]fuzzed
	Keys   map[goodKey]any
	Anys   map[any]any
	Array  asArray
	Base
}

func addSeeds(f *testing.F) {
	for _, v := range []any{
		nil, true, 1, -1, int64(1 << 40), 0.5, "text", []byte("bytes"), []int{1, 2}, map[string]any{"a": []any{nil}}, map[int]string{1: "x"},
		time.Unix(1e9, 5).UTC(), bigInt("-0x1234567890abcdef1234567890"), cbor.Tag{Number: 100, Content: "x"}, cbor.SimpleValue(99),
		fuzzed{}, fuzzed{
			Bool: true, Int: -1, Uint: 70000, Float: 1.5, Text: "é", Bytes: []byte{}, Hash: [4]byte{1}, List: []int{1},
			Map: map[string]float64{"x": math.Inf(1)}, IntMap: map[int][]string{-1: {"a"}}, Time: time.Unix(1, 0), Took: 5,
			Addr: netip.MustParseAddr("::1"), Big: bigInt("18446744073709551616"), Any: map[any]any{int64(1): cbor.ByteString("x")},
			Next: &fuzzed{Text: "next"}, Kids: map[bool]fuzzed{true: {Int: 7}}, Keys: map[goodKey]any{{"h", 1}: 1.5},
			Anys: map[any]any{int64(1): nil, "x": []any{}}, Array: asArray{A: 1, B: "b"}, Base: Base{3},
		},
	} {
		data, err := sortedMode.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, data := range []string{
		"", "\xff", "\x9f\x01\xff", "\xbf\xff", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "\xa2\x01\x01\x01\x02", "\xa1\x80\x80", "\xc2\x01",
		"\xc1\xfb\x7f\xef\xff\xff\xff\xff\xff\xff", "\xd9\xd9\xf7\x01", "\xa1\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01", "\xf9\x7e\x01", "\xf8\x20",
		"\xa3\xf9\x7e\x00\x01\xf9\x7e\x00\x02\x61a\x03", // NaN as a key, twice
		strings.Repeat("\x81", 5000), strings.Repeat("\xc6", 20) + "\x01", "\xa1\x64Time\x1b\x7f\xff\xff\xff\xff\xff\xff\xff",
	} {
		f.Add([]byte(data))
	}
}

// checkDecoded decodes data, and if that succeeds expects that the value can be sent on and arrives unchanged, or
// is refused by an Error.
func checkDecoded[T any](t *testing.T, c *Codec[T], data []byte) {
	v, err := c.Decode(data)
	var e *Error
	if err != nil {
		if !errors.As(err, &e) || err.Error() == "" {
			t.Fatalf("%v is a %T", err, err)
		}
		return
	}
	encoded, err := c.Append(nil, v)
	if err != nil {
		if !errors.As(err, &e) || err.Error() == "" {
			t.Fatalf("%v is a %T", err, err)
		}
		return
	}
	again, err := c.Decode(encoded)
	if err != nil {
		t.Fatalf("%x does not decode: %v", encoded, err)
	}
	want, err := sortedMode.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sortedMode.Marshal(again); err != nil || !equalButForOrder(got, want) {
		t.Fatalf("sent %#v, got %#v, %v", v, again, err)
	}
}

// equalButForOrder compares encodings that may differ in the order of equal keys, which only NaNs can be.
func equalButForOrder(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	slices.Sort(a)
	slices.Sort(b)
	return bytes.Equal(a, b)
}

func FuzzDecodeStruct(f *testing.F) {
	addSeeds(f)
	one, several := codecOf[fuzzed](f), codecOf[[]*fuzzed](f)
	f.Fuzz(func(t *testing.T, data []byte) {
		checkDecoded(t, one, data)
		checkDecoded(t, several, data)
		decodeAllAlike(t, data)
	})
}

func FuzzDecodeAny(f *testing.F) {
	addSeeds(f)
	anything, keyed := codecOf[any](f), codecOf[map[any]any](f)
	f.Fuzz(func(t *testing.T, data []byte) {
		checkDecoded(t, anything, data)
		checkDecoded(t, keyed, data)
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add(true, int64(-1), uint64(1), 0.5, float32(0.5), "text", []byte("bytes"), int64(5), byte(3))
	f.Add(false, int64(math.MinInt64), uint64(math.MaxUint64), math.Inf(-1), float32(math.Inf(1)), "\xff", []byte{}, int64(-1), byte(0))
	f.Add(false, int64(24), uint64(256), math.Copysign(0, -1), float32(1e-40), "", []byte(nil), int64(1<<40), byte(9))
	c := codecOf[fuzzed](f)
	f.Fuzz(func(t *testing.T, b bool, i int64, u uint64, f64 float64, f32 float32, text string, bin []byte, nano int64, n byte) {
		v := fuzzed{
			Bool: b, Int: int8(i), Uint: uint32(u), Float: f32, Text: text, Bytes: bin, List: make([]int, n),
			Map: map[string]float64{text: f64}, IntMap: map[int][]string{int(i): {text, ""}, int(n): nil},
			Time: time.Unix(0, nano).UTC(), Took: time.Duration(nano), Big: new(big.Int).SetUint64(u),
			Any: map[string]any{text: []any{b, i, f64, text, nil}}, Kids: map[bool]fuzzed{b: {Text: text}},
			Keys: map[goodKey]any{{text, int(i)}: f64}, Anys: map[any]any{i: text, text: i}, Array: asArray{A: int(i), B: text}, Base: Base{int(u)},
		}
		copy(v.Hash[:], bin)
		for range n % 16 {
			inner := v
			v = fuzzed{Next: &inner, Took: v.Took}
		}
		data, err := c.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		want, err := sortedMode.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := sortedMode.Marshal(got); err != nil || !bytes.Equal(again, want) {
			t.Fatalf("sent %#v, got %#v, %v", v, got, err)
		}
		if f64 == f64 && f32 == f32 && !reflect.DeepEqual(got, v) {
			t.Fatalf("sent %#v, got %#v", v, got)
		}
	})
}
