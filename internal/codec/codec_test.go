package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// codecOf returns the codec of T, which the test needs.
func codecOf[T any](t testing.TB) *Codec[T] {
	t.Helper()
	c, err := For[T]()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// roundTrip sends v through bytes that are overwritten before the result is looked at.
func roundTrip[T any](t testing.TB, v T) T {
	t.Helper()
	c := codecOf[T](t)
	const prefix = "before"
	data, err := c.Append([]byte(prefix), v)
	if err != nil {
		t.Fatalf("%T: %v", v, err)
	}
	if !bytes.HasPrefix(data, []byte(prefix)) {
		t.Fatalf("%T: Append changed what was there: %q", v, data)
	}
	data = data[len(prefix):]
	got, err := c.Decode(data)
	if err != nil {
		t.Fatalf("%T: %v", v, err)
	}
	for i := range data {
		data[i] = 0xff
	}
	return got
}

// same checks that v arrives deeply equal.
func same[T any](v T) func(t *testing.T) {
	return func(t *testing.T) {
		if got := roundTrip(t, v); !reflect.DeepEqual(got, v) {
			t.Errorf("sent %#v, got %#v", v, got)
		}
	}
}

// arrives checks that v arrives as another value.
func arrives[T any](v, want T) func(t *testing.T) {
	return func(t *testing.T) {
		if got := roundTrip(t, v); !reflect.DeepEqual(got, want) {
			t.Errorf("sent %#v, got %#v, want %#v", v, got, want)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func bigInt(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 0)
	if !ok {
		panic(s)
	}
	return n
}

type everything struct {
	Bool    bool
	Int     int
	Small   int8
	Big     uint64
	F32     float32
	F64     float64
	Text    string
	Bytes   []byte
	Hash    [16]byte
	Nums    [3]int16
	Map     map[int]string
	Nested  map[string][]map[bool]float64
	When    time.Time
	Took    time.Duration
	Number  json.Number
	Raw     json.RawMessage
	Addr    netip.Addr
	URL     url.URL
	URLp    *url.URL
	Ptr     **int
	Nil     *everything
	Any     any
	Celsius celsius
	Pair    pair[string, []int]
	embedding
}

func TestRoundTrip(t *testing.T) {
	u, err := url.Parse("https://me:secret@example.com/a%2Fb?q=1#f")
	if err != nil {
		t.Fatal(err)
	}
	full := everything{
		Bool: true, Int: -5, Small: math.MinInt8, Big: math.MaxUint64, F32: 1.5, F64: math.Pi, Text: "héllo", Bytes: []byte{0, 1},
		Hash: [16]byte{1, 15: 9}, Nums: [3]int16{1, -2, 3}, Map: map[int]string{-1: "a", 2: "b"},
		Nested: map[string][]map[bool]float64{"x": {{true: 1}, nil, {}}},
		When:   time.Date(2024, 2, 29, 1, 2, 3, 4, time.UTC), Took: time.Hour, Number: "1.50", Raw: json.RawMessage(`{"a": 1}`),
		Addr: netip.MustParseAddr("fe80::1%eth0"), URL: *u, URLp: u, Ptr: ptr(ptr(7)), Any: []any{int64(1), "x", nil},
		Celsius: 36.6, Pair: pair[string, []int]{"p", []int{1, 2}}, embedding: embedding{Base{7}, base2{"k"}, "n"},
	}
	for name, test := range map[string]func(*testing.T){
		"zero":                   same(everything{}),
		"full":                   same(full),
		"pointer":                same(&full),
		"slice of structs":       same([]everything{full, {}}),
		"bool":                   same(true),
		"empty struct":           same(struct{}{}),
		"named int":              same(time.Minute),
		"json.Number":            same(json.Number("12345678901234567890.5")),
		"json.RawMessage":        same(json.RawMessage("not even json")),
		"netip.Addr":             same(netip.MustParseAddr("10.0.0.1")),
		"netip.Addr zero":        same(netip.Addr{}),
		"nil pointer":            same((*everything)(nil)),
		"pointer to pointer":     same(ptr(ptr("x"))),
		"embedded":               same(embedding{Base{1}, base2{"b"}, "c"}),
		"embedded pointer":       same(embedPtr{&Base{1}}),
		"embedded nil pointer":   same(embedPtr{}),
		"generic":                same(pair[pair[int, string], *pair[[]byte, celsius]]{First: pair[int, string]{1, "a"}, Second: &pair[[]byte, celsius]{[]byte("b"), 2}}),
		"list":                   same(&list{1, &list{2, &list{3, nil}}}),
		"tree":                   same(tree{Left: &tree{Kids: []tree{{}, {}}}, ByName: map[string]tree{"x": {}}}),
		"to array":               same(asArray{A: 1, B: "x"}),
		"int keys":               same(intKeys{1, 0, 3}),
		"struct keys":            same(map[goodKey]int{{"a", 1}: 2, {"b", 2}: 3}),
		"array keys":             same(map[[4]byte]int{{1}: 2}),
		"addr keys":              same(map[netip.Addr]int{netip.MustParseAddr("::1"): 2}),
		"time keys":              same(map[time.Time]int{time.Unix(1, 5).UTC(): 2}),
		"any keys":               same(map[any]any{int64(1): "a", "x": nil, true: 1.5, nil: "nil", time.Unix(7, 0).UTC(): "time"}),
		"chan with methods":      arrives(pair[int, chanID]{1, make(chanID)}, pair[int, chanID]{First: 1}),
		"embeds and overrides":   arrives(eventOwn{time.Unix(1, 0), "n"}, eventOwn{Note: "n"}),
		"overrides by pointer":   arrives(eventOwnPointer{time.Unix(1, 0), "n"}, eventOwnPointer{Note: "n"}),
		"dropped":                arrives(jobDropped{make(chan int), 1}, jobDropped{Kept: 1}),
		"renamed":                same(jobRenamed{"x"}),
		"unexported":             arrives(mixed{1, make(chan int)}, mixed{A: 1}),
		"cbor.Tag":               same(cbor.Tag{Number: 77, Content: "x"}),
		"shared but not cyclic":  same([]*list{full2, full2}),
		"nil map in any":         arrives[any](map[string]int(nil), nil),
		"pointer to nil":         arrives(ptr[[]int](nil), nil),
		"pointer to zero time":   arrives(&time.Time{}, nil),
		"array of structs":       same([2]Base{{1}, {2}}),
		"bytes as array of [64]": same([64]byte{1, 2, 63: 3}),
	} {
		t.Run(name, test)
	}
}

var full2 = &list{Value: 2}

func TestModeNumbers(t *testing.T) {
	rat, _ := new(big.Rat).SetString("-123456789012345678901234567890/7919")
	huge := bigInt("-0x123456789abcdef0123456789abcdef0123456789")
	for name, test := range map[string]func(*testing.T){
		"big.Int value":   same(*huge),
		"big.Int pointer": same(huge),
		"big.Int small":   same(big.NewInt(-3)),
		"big.Int field":   same(pair[big.Int, *big.Int]{*bigInt("5"), bigInt("18446744073709551616")}),
		"int64 limits":    same([]int64{math.MinInt64, math.MaxInt64}),
		"uint64 limit":    same([]uint64{math.MaxUint64}),
		"any ints": arrives(
			[]any{1, int8(-1), uint8(200), uint64(math.MaxInt64), uint64(math.MaxUint64), bigInt("-9223372036854775809"), huge},
			[]any{int64(1), int64(-1), int64(200), int64(math.MaxInt64), bigInt("18446744073709551615"), bigInt("-9223372036854775809"), huge}),
		"any floats": arrives([]any{float32(0.5), 0.1, math.Inf(-1)}, []any{0.5, 0.1, math.Inf(-1)}),
	} {
		t.Run(name, test)
	}

	for _, v := range []*big.Rat{rat, big.NewRat(1, 3), new(big.Rat)} {
		type rats struct {
			Value big.Rat
			Ptr   *big.Rat
			In    map[string][]big.Rat
		}
		got := roundTrip(t, rats{*v, v, map[string][]big.Rat{"x": {*v}}})
		if got.Value.Cmp(v) != 0 || got.Ptr.Cmp(v) != 0 || got.In["x"][0].Cmp(v) != 0 {
			t.Errorf("sent %v, got %v", v, got)
		}
		if got := roundTrip(t, *v); got.Cmp(v) != 0 {
			t.Errorf("sent %v, got %v", v, &got)
		}
	}
}

func TestModeFloatsAreExact(t *testing.T) {
	for _, bits := range []uint64{
		math.Float64bits(math.NaN()), 0x7ff0000000000001, 0xfff8000000abcdef, math.Float64bits(math.Inf(1)), math.Float64bits(math.Inf(-1)),
		0x8000000000000000, 0, 1, math.Float64bits(math.MaxFloat64), math.Float64bits(0.1),
	} {
		v := math.Float64frombits(bits)
		if got := math.Float64bits(roundTrip(t, v)); got != bits {
			t.Errorf("float64: sent %x, got %x", bits, got)
		}
		if got := math.Float64bits(roundTrip(t, []float64{v})[0]); got != bits {
			t.Errorf("[]float64: sent %x, got %x", bits, got)
		}
		if got := math.Float64bits(roundTrip[any](t, v).(float64)); got != bits {
			t.Errorf("any: sent %x, got %x", bits, got)
		}
	}
	for _, bits := range []uint32{0x7fc00000, 0x7fc12345, 0xffc00001, 0x7f800000, 0xff800000, 0x80000000, 1, math.Float32bits(0.1)} {
		v := math.Float32frombits(bits)
		if got := math.Float32bits(roundTrip(t, v)); got != bits {
			t.Errorf("float32: sent %x, got %x", bits, got)
		}
		if got := math.Float32bits(roundTrip(t, []float32{v})[0]); got != bits {
			t.Errorf("[]float32: sent %x, got %x", bits, got)
		}
	}
}

func TestModeTimes(t *testing.T) {
	zone := time.FixedZone("somewhere", -(3*3600 + 30*60))
	for _, v := range []time.Time{
		{}, time.Unix(0, 0), time.Date(2024, 12, 31, 23, 59, 59, 999999999, zone), time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Now(),
	} {
		got := roundTrip(t, v)
		_, offset := v.Zone()
		_, gotOffset := got.Zone()
		if !got.Equal(v) || offset != gotOffset {
			t.Errorf("sent %v, got %v", v, got)
		}
		if !v.IsZero() {
			if got, ok := roundTrip[any](t, v).(time.Time); !ok || !got.Equal(v) {
				t.Errorf("in an any: sent %v, got %v", v, got)
			}
		}
	}
}

func TestModeNilAndEmpty(t *testing.T) {
	type containers struct {
		Slice []int
		Bytes []byte
		Map   map[string]int
		Any   any
	}
	for name, test := range map[string]func(*testing.T){
		"nil":         same(containers{}),
		"empty":       same(containers{[]int{}, []byte{}, map[string]int{}, []any{}}),
		"empty any":   same(containers{Any: map[string]any{}}),
		"bytes any":   same(containers{Any: []byte{}}),
		"nil bytes":   same([]byte(nil)),
		"empty bytes": same([]byte{}),
		"nil slice":   same([]string(nil)),
		"empty slice": same([]string{}),
		"in slices":   same([][]int{nil, {}, {1}}),
		"in maps":     same(map[string]map[string]int{"nil": nil, "empty": {}}),
	} {
		t.Run(name, test)
	}
}

func TestModeStrings(t *testing.T) {
	for _, v := range []string{"", "plain", "\xff\xfe invalid \x80", strings.Repeat("é", 40000)} {
		t.Run("", same(v))
		t.Run("", same([]string{v}))
		t.Run("", same(map[string]string{v: v}))
		t.Run("", same[any](map[string]any{v: v}))
	}
}

func TestModeAny(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"nil":             same[any](nil),
		"string keys":     same[any](map[string]any{"a": []any{map[string]any{"b": int64(1)}}}),
		"int keys":        same[any](map[any]any{int64(1): "a", int64(2): map[string]any{"x": []any{}}}),
		"typed int keys":  arrives[any](map[int]string{1: "a"}, map[any]any{int64(1): "a"}),
		"both":            arrives[any]([]any{map[int]int{1: 1}, map[string]int{"a": 1}, map[int]int{}}, []any{map[any]any{int64(1): int64(1)}, map[string]any{"a": int64(1)}, map[string]any{}}),
		"named keys":      arrives[any](map[json.Number]int{"1": 1}, map[string]any{"1": int64(1)}),
		"big keys":        arrives(len(roundTrip[any](t, map[any]any{bigInt("18446744073709551616"): 1}).(map[any]any)), 1),
		"odd keys":        same[any](map[any]any{cbor.ByteString("x"): "y", cbor.SimpleValue(99): "z"}),
		"bytes as keys":   arrives[any](map[[2]byte]int{{1, 2}: 1}, map[any]any{cbor.ByteString("\x01\x02"): int64(1)}),
		"float keys":      same[any](map[any]any{1.5: "x", math.Inf(1): "y"}),
		"struct":          arrives[any](goodKey{"h", 1}, map[string]any{"Host": "h", "Port": int64(1)}),
		"rat":             arrives[any](big.NewRat(1, 3), "1/3"),
		"tag":             arrives[any](cbor.Tag{Number: 99, Content: map[int]int{1: 2}}, cbor.Tag{Number: 99, Content: map[any]any{int64(1): int64(2)}}),
		"tag, named":      same[any](pairAny(map[string]any{"t": cbor.Tag{Number: 99, Content: map[string]any{"a": "b"}}, "i": map[any]any{int64(1): "x"}})),
		"inside a struct": arrives(pair[any, map[string]any]{map[int]int{1: 2}, map[string]any{"x": map[bool]int{true: 1}}}, pair[any, map[string]any]{map[any]any{int64(1): int64(2)}, map[string]any{"x": map[any]any{true: int64(1)}}}),
		"inside others": arrives(pair[*[1]any, map[float64][]any]{&[1]any{map[int]int{1: 2}}, map[float64][]any{1: {map[string]int{"a": 1}}}},
			pair[*[1]any, map[float64][]any]{&[1]any{map[any]any{int64(1): int64(2)}}, map[float64][]any{1: {map[string]any{"a": int64(1)}}}}),
	} {
		t.Run(name, test)
	}
}

func pairAny(v any) any { return v }

func TestDecodeRefuses(t *testing.T) {
	ints := codecOf[map[string]int](t)
	job := codecOf[everything](t)
	text := codecOf[string](t)
	anys := codecOf[any](t)
	for _, test := range []struct {
		name   string
		decode func() error
		want   string
	}{
		{"empty", errOf(text, ""), "codec: string: unexpected EOF"},
		{"trailing", errOf(text, "\x61a\x00"), "codec: string: cbor: 1 bytes of extraneous data"},
		{"cut", errOf(text, "\x65a"), "codec: string: unexpected EOF"},
		{"bytes for text", errOf(text, "\x41a"), "codec: string: cbor: cannot unmarshal byte string"},
		{"twice", errOf(ints, "\xa2\x61a\x01\x61a\x02"), `codec: map[string]int: cbor: found duplicate map key "a"`},
		{"field twice", errOf(job, "\xa2\x63Int\x01\x63Int\x02"), `codec: codec.everything: cbor: found duplicate map key "Int"`},
		{"twice in any", errOf(anys, "\xa2\x01\x01\x01\x02"), `codec: any: cbor: `},
		{"wrong field", errOf(job, "\xa1\x63Int\x61x"), "codec: codec.everything.Int: cbor: cannot unmarshal UTF-8 text string into Go struct field"},
		{"overflow", errOf(job, "\xa1\x65Small\x18\xff"), "codec: codec.everything.Small: cbor: cannot unmarshal positive integer"},
		{"bad text", errOf(job, "\xa1\x64Addr\x41\x01"), "codec: codec.everything: "},
		{"indefinite", errOf(ints, "\xbf\xff"), "codec: map[string]int: cbor: indefinite-length map isn't allowed"},
		{"array as key", errOf(anys, "\xa1\x80\x01"), "codec: any: "},
		{"tags", errOf(anys, strings.Repeat("\xd8\x64", maxTagRun+1)+"\x01"), "codec: any: more than 8 CBOR tags in a row"},
		{"too deep", errOf(anys, strings.Repeat("\x81", MaxNestedLevels+1)+"\x01"), "codec: any: cbor: exceeded max nested level"},
		{"too deep, stack", errOf(anys, strings.Repeat("\x81", 10_000_000)), "codec: any: cbor: exceeded max nested level"},
	} {
		err := test.decode()
		var e *Error
		if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("%s: %v looks like the end of a stream", test.name, err)
		}
	}
}

func errOf[T any](c *Codec[T], data string) func() error {
	return func() error {
		v, err := c.Decode([]byte(data))
		var zero T
		if err != nil && !reflect.DeepEqual(v, zero) {
			return errors.New("a value beside the error")
		}
		return err
	}
}

func TestDecodeIgnoresUnknownFieldsAndOtherCase(t *testing.T) {
	c := codecOf[Base](t)
	v, err := c.Decode([]byte("\xa3\x62id\x01\x62Id\x02\x65Other\x80"))
	if err != nil || v.ID != 0 {
		t.Errorf("got %v, %v", v, err)
	}
}

type failing struct{ N int }

var errFailing = errors.New("no luck")

func (failing) MarshalText() ([]byte, error) { return []byte("half"), errFailing }
func (*failing) UnmarshalText([]byte) error  { return errFailing }

func TestErrorsOfMethods(t *testing.T) {
	c := codecOf[pair[string, failing]](t)
	dst := append(make([]byte, 0, 100), "kept"...)
	out, err := c.Append(dst, pair[string, failing]{"before", failing{}})
	if string(out) != "kept" || !errors.Is(err, errFailing) || !strings.Contains(err.Error(), "codec.failing") {
		t.Errorf("Append: %q, %v", out, err)
	}
	_, err = c.Decode([]byte("\xa1\x66Second\x61x"))
	if !errors.Is(err, errFailing) || !strings.Contains(err.Error(), "codec.failing") {
		t.Errorf("Decode: %v", err)
	}
}

func TestAppendGrowsWhatItIsGiven(t *testing.T) {
	c := codecOf[Base](t)
	dst := make([]byte, 3, 100)
	out, err := c.Append(dst, Base{5})
	if err != nil || &out[0] != &dst[0] || len(out) <= 3 {
		t.Errorf("got %q, %v", out, err)
	}
	out, err = c.Append(nil, Base{5})
	if err != nil || string(out) != "\xa1\x62ID\x05" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestMarshalUnmarshal(t *testing.T) {
	for _, v := range []any{nil, 1, "x", []byte("b"), &Base{1}, map[string]any{"a": nil}, [2]any{1, "x"}} {
		data, err := Marshal(v)
		if err != nil {
			t.Errorf("%v: %v", v, err)
			continue
		}
		want, err := encMode.Marshal(v)
		if err != nil || !bytes.Equal(data, want) {
			t.Errorf("%v: got %x, want %x, %v", v, data, want, err)
		}
	}
	if _, err := Marshal(make(chan int)); err == nil || err.Error() != "codec: chan int cannot travel" {
		t.Errorf("Marshal(chan): %v", err)
	}

	got := pair[int, any]{First: 9}
	if err := Unmarshal([]byte("\xa1\x66Second\xa1\x01\x02"), &got); err != nil {
		t.Error(err)
	}
	if want := (pair[int, any]{0, map[any]any{int64(1): int64(2)}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	kept := intKeys{A: 1, C: 2}
	if err := Unmarshal([]byte("\xa1\x01\x07"), &kept); err != nil || kept != (intKeys{A: 7, C: 2}) {
		t.Errorf("got %v, %v", kept, err)
	}
	for _, v := range []any{nil, Base{}, (*Base)(nil), ptr(make(chan int))} {
		if err := Unmarshal([]byte("\xa0"), v); err == nil {
			t.Errorf("Unmarshal into %T succeeded", v)
		}
	}
}

func TestCodecConcurrently(t *testing.T) {
	c := codecOf[everything](t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 50 {
				data, err := c.Append(nil, everything{Int: i, Any: map[int]int{i: i}})
				if err != nil {
					t.Error(err)
				}
				v, err := c.Decode(data)
				if err != nil || v.Int != i || !reflect.DeepEqual(v.Any, map[any]any{int64(i): int64(i)}) {
					t.Errorf("sent %d, got %v, %v", i, v, err)
				}
			}
		})
	}
	all.Wait()
}
