package codec

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// samePlain checks that the hand-written encoding of each value is the library's, byte for byte, and comes back.
func samePlain[T any](values ...T) func(*testing.T) {
	return func(t *testing.T) {
		c := codecOf[T](t)
		if c.appendPlain == nil || c.decodePlain == nil {
			t.Fatal("not a plain type")
		}
		for _, v := range values {
			got, err := c.Append([]byte("x"), v)
			if err != nil {
				t.Fatal(err)
			}
			want, err := encMode.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if got = got[1:]; !bytes.Equal(got, want) {
				t.Errorf("%v: got %x, the library has %x", v, got, want)
			}
			back, ok := c.decodePlain(got)
			if !ok {
				t.Errorf("%v: %x is not in the plain form", v, got)
			}
			if again, _ := c.Append(nil, back); !bytes.Equal(again, got) {
				t.Errorf("sent %v, got %v", v, back)
			}
		}
	}
}

// integers returns T's values around each power of two, and some random ones.
func integers[T signed | unsigned]() []T {
	var all []T
	for shift := range 64 {
		for delta := uint64(0); delta < 5; delta++ {
			n := uint64(1)<<shift + delta - 2
			all = append(all, T(n), T(-n))
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		all = append(all, T(random.Uint64()>>random.IntN(64)))
	}
	return all
}

func floatBits() []uint64 {
	all := []uint64{0, 1 << 63, math.Float64bits(math.NaN()), math.Float64bits(math.Inf(1)), math.Float64bits(math.Inf(-1)), 0x7ff0000000000001}
	random := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		all = append(all, random.Uint64())
	}
	return all
}

func TestPlainIsWhatTheLibraryWrites(t *testing.T) {
	var f32s []float32
	var f64s []float64
	for _, bits := range floatBits() {
		f32s = append(f32s, math.Float32frombits(uint32(bits>>32)))
		f64s = append(f64s, math.Float64frombits(bits))
	}
	var texts []string
	byteses := [][]byte{nil, {}}
	for _, n := range []int{0, 1, 23, 24, 255, 256, 65535, 65536} {
		texts = append(texts, strings.Repeat("é", n), strings.Repeat("\xff", n))
		byteses = append(byteses, bytes.Repeat([]byte{7}, n))
	}
	for name, test := range map[string]func(*testing.T){
		"bool":     samePlain(false, true),
		"int":      samePlain(integers[int]()...),
		"int8":     samePlain(integers[int8]()...),
		"int16":    samePlain(integers[int16]()...),
		"int32":    samePlain(integers[int32]()...),
		"int64":    samePlain(integers[int64]()...),
		"uint":     samePlain(integers[uint]()...),
		"uint8":    samePlain(integers[uint8]()...),
		"uint16":   samePlain(integers[uint16]()...),
		"uint32":   samePlain(integers[uint32]()...),
		"uint64":   samePlain(integers[uint64]()...),
		"float32":  samePlain(f32s...),
		"float64":  samePlain(f64s...),
		"string":   samePlain(texts...),
		"[]byte":   samePlain(byteses...),
		"struct{}": samePlain(struct{}{}),
	} {
		t.Run(name, test)
	}
}

func TestNamedTypesAreNotPlain(t *testing.T) {
	if codecOf[time.Duration](t).appendPlain != nil || codecOf[celsius](t).decodePlain != nil {
		t.Error("a named type may have methods")
	}
}

// decodesAlike checks that Decode accepts what the library accepts and gives the same value.
func decodesAlike[T any](t *testing.T, data []byte) {
	t.Helper()
	var want T
	wantErr := checkTags(data)
	if wantErr == nil {
		wantErr = decMode.Unmarshal(data, &want)
	}
	got, err := codecOf[T](t).Decode(data)
	if (err == nil) != (wantErr == nil) {
		t.Errorf("%T from %x: got %v, the library %v", want, data, err, wantErr)
		return
	}
	if err == nil && !reflect.DeepEqual(got, want) && !isNaN(any(got)) {
		t.Errorf("%T from %x: got %v, the library %v", want, data, got, want)
	}
}

func isNaN(v any) bool {
	f64, _ := v.(float64)
	f32, _ := v.(float32)
	return f64 != f64 || f32 != f32
}

func decodeAllAlike(t *testing.T, data []byte) {
	t.Helper()
	decodesAlike[bool](t, data)
	decodesAlike[int](t, data)
	decodesAlike[int8](t, data)
	decodesAlike[int16](t, data)
	decodesAlike[int32](t, data)
	decodesAlike[int64](t, data)
	decodesAlike[uint](t, data)
	decodesAlike[uint8](t, data)
	decodesAlike[uint16](t, data)
	decodesAlike[uint32](t, data)
	decodesAlike[uint64](t, data)
	decodesAlike[float32](t, data)
	decodesAlike[float64](t, data)
	decodesAlike[string](t, data)
	decodesAlike[[]byte](t, data)
	decodesAlike[struct{}](t, data)
}

func TestPlainDecodesWhatTheLibraryDoes(t *testing.T) {
	// All items of one byte, all heads with short arguments and a few tails, and odd forms.
	for first := range 256 {
		for _, tail := range []string{"", "\x00", "\x05", "\xff", "\x00\x01", "\xff\xff", "\x00\x00\x00\x01", "\x7f\xc0\x00\x01", "\xff\xff\xff\xff", "\x00\x00\x00\x00\x00\x00\x00\x01", "\x7f\xff\xff\xff\xff\xff\xff\xff", "\x80\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff"} {
			decodeAllAlike(t, append([]byte{byte(first)}, tail...))
		}
	}
	for _, data := range []string{
		"\x78\x01a", "\x79\x00\x01a", "\x7b\x00\x00\x00\x00\x00\x00\x00\x01a", "\x58\x01a", "\x5a\x00\x00\x00\x01a", // longer heads than needed
		"\xc2\x41\x05", "\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00", "\xc3\x41\x05", // bignums
		"\xd9\xd9\xf7\x05", "\xd9\xd9\xf7\x61a", "\xd8\x64\x41a", // tags
		"\x5f\x41a\xff", "\x7f\x61a\xff", // indefinite lengths
		"\xa1\x61a\x01", "\x81\x01", "\x83\x01\x02\x03", "\xa0\x00", "\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		decodeAllAlike(t, []byte(data))
	}
	random := rand.New(rand.NewPCG(5, 6))
	for range 20000 {
		data := make([]byte, 1+random.IntN(10))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		decodeAllAlike(t, data)
	}
}

// allocs returns how many allocations f makes.
func allocs(f func()) float64 { return testing.AllocsPerRun(200, f) }

func TestPlainAllocations(t *testing.T) {
	buf := make([]byte, 0, 4096)
	plainAllocs(t, buf, 0, -123456)
	plainAllocs(t, buf, 0, uint8(200))
	plainAllocs(t, buf, 0, 1.5)
	plainAllocs(t, buf, 0, true)
	plainAllocs(t, buf, 0, struct{}{})
	plainAllocs(t, buf, 1, strings.Repeat("x", 100))
	plainAllocs(t, buf, 1, make([]byte, 1000))
	plainAllocs(t, buf, 0, []byte(nil))
}

func plainAllocs[T any](t *testing.T, buf []byte, want float64, v T) {
	t.Helper()
	c := codecOf[T](t)
	data, _ := c.Append(nil, v)
	if got := allocs(func() { _, _ = c.Append(buf, v) }); got != 0 {
		t.Errorf("Append(%T): %v allocations", v, got)
	}
	if got := allocs(func() { _, _ = c.Decode(data) }); got != want {
		t.Errorf("Decode(%T): %v allocations, want %v", v, got, want)
	}
}
