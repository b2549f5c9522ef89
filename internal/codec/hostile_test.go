package codec

import (
	"encoding/binary"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// allocated returns how many bytes f allocates, those that it drops included.
func allocated(f func()) float64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc - before.TotalAlloc)
}

// many returns an array of n equal items.
func many(n int, item string) string {
	return string(appendHead(nil, majorArray, uint64(n))) + strings.Repeat(item, n)
}

// textMap returns a map of n items under different names.
func textMap(n int, value string) string {
	data := appendHead(nil, majorMap, uint64(n))
	for i := range n {
		data = append(binary.BigEndian.AppendUint16(append(data, 0x62), uint16(i)), value...)
	}
	return string(data)
}

// intMap returns a map of n items under different numbers.
func intMap(n int, value string) string {
	data := appendHead(nil, majorMap, uint64(n))
	for i := range n {
		data = append(appendHead(data, majorUint, uint64(i)), value...)
	}
	return string(data)
}

// perByte returns how many bytes it allocates to decode one byte of data.
func perByte[T any](t *testing.T, data string) float64 {
	t.Helper()
	c := codecOf[T](t)
	in := []byte(data)
	_, _ = c.Decode(in) // Fills the library's caches.
	return allocated(func() { _, _ = c.Decode(in) }) / float64(len(in))
}

type (
	wide     struct{ A, B, C, D, E, F, G, H int }
	wideMap  map[int]wide
	wideKeys map[[16]int64][16]int64
)

func TestAllocationIsBounded(t *testing.T) {
	const n = 20000
	sizeOf := func(sizes ...uintptr) (sum float64) {
		for _, size := range sizes {
			sum += float64(size)
		}
		return sum
	}
	mapBound := func(sizes ...uintptr) float64 { return 64 + 8*sizeOf(sizes...) }
	const anyBound, errorBound = 512, 512
	const slack = 2 // for what is allocated once, and for the error

	for _, test := range []struct {
		name       string
		got, bound float64
	}{
		{"a length and nothing behind it", perByte[[]wide](t, "\x9a\x7f\xff\xff\xff"), 100},
		{"a map's length", perByte[map[int]int](t, "\xba\x7f\xff\xff\xff"), 100},
		{"a string's length", perByte[string](t, "\x7b\x7f\xff\xff\xff\xff\xff\xff\xff"), 100},
		{"lengths inside", perByte[[][]wide](t, "\x82\x80\x9a\x7f\xff\xff\xff"), 100},

		{"structs", perByte[[]wide](t, many(n, "\xa0")), sizeOf(unsafe.Sizeof(wide{}))},
		{"pointers, which Go rounds up", perByte[[]**int](t, many(n, "\x01")), 8 + 16 + 16},
		{"bytes", perByte[[]byte](t, "\x5a\x00\x10\x00\x00"+strings.Repeat("x", 1<<20)), 1},
		{"empty maps", perByte[[]map[int8]int8](t, many(n, "\xa0")), mapBound(1, 1)},
		{"small maps", perByte[[]map[int8]int8](t, many(n, "\xa1\x01\x01")), mapBound(1, 1)},
		{"wide maps", perByte[[]wideMap](t, many(n, "\xa1\x01\xa0")), mapBound(8, 64)},
		{"wide keys", perByte[[]wideKeys](t, many(n, "\xa1\x80\x80")), mapBound(128, 128)},
		{"growing maps", perByte[[]wideMap](t, many(n, intMap(9, "\xa0"))), mapBound(8, 64)},
		{"one big map", perByte[wideMap](t, intMap(n, "\xa0")), mapBound(8, 64)},

		{"any: ints", perByte[any](t, many(n, "\x01")), anyBound},
		{"any: arrays", perByte[any](t, many(n, "\x80")), anyBound},
		{"any: maps", perByte[any](t, many(n, "\xa0")), anyBound},
		{"any: map in map", perByte[any](t, many(n, "\xa1\x60\xa1\x60\xa1\x60\xa1\x60\xf6")), anyBound},
		{"any: decoded twice", perByte[any](t, many(n, "\xa1\x60\xa1\x60\xa1\x60\xa1\x00\xf6")), anyBound},
		{"any: int maps", perByte[any](t, many(n, intMap(15, "\xf6"))), anyBound},
		{"any: text map", perByte[any](t, textMap(n, "\xf6")), anyBound},
		{"any: bignums", perByte[any](t, many(n, "\xc3\x40")), anyBound},
		{"any: tags", perByte[any](t, many(n, "\xc6\xc6\xc6\xc6\xc6\xc6\xc6\xc6\x01")), anyBound},
		{"any: bad keys", perByte[any](t, many(n, "\xa1\x80\x80")), anyBound},
		{"any: bad times", perByte[any](t, many(n, "\xc0\x60")), anyBound},

		{"wrong ints", perByte[[]int](t, many(n, "\x60")), errorBound},
		{"wrong times", perByte[[]time.Time](t, many(n, "\x60")), errorBound},
		{"wrong big.Ints", perByte[[]big.Int](t, many(n, "\x60")), errorBound},
		{"wrong big.Rats", perByte[[]big.Rat](t, many(n, "\x60")), errorBound},
		{"unknown fields", perByte[[]wide](t, many(n, "\xa1\x60\x60")), errorBound},
		{"null fields", perByte[[]wide](t, many(n, "\xa1\xf6\x60")), errorBound},
	} {
		if test.got > test.bound+slack {
			t.Errorf("%s: %.0f bytes allocated for each byte, want at most %.0f", test.name, test.got, test.bound)
		}
	}
}

// What was decoded does not change with the bytes it came from.
func TestDecodeDoesNotAlias(t *testing.T) {
	type all struct {
		B   []byte
		S   string
		A   any
		Bs  [][]byte
		M   map[string][]byte
		Raw []byte `cbor:"r"`
	}
	v := all{[]byte("bytes"), "string", []any{[]byte("any"), "s"}, [][]byte{[]byte("x")}, map[string][]byte{"k": []byte("v")}, []byte("raw")}
	t.Run("", same(v)) // roundTrip overwrites the bytes before it returns.
	t.Run("", same([]byte("bytes")))
	t.Run("", same("string"))
	t.Run("", same[any](map[any]any{int64(1): []byte("x")}))
}
