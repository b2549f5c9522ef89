package codec

import (
	"strings"
	"testing"
	"time"
)

type smallStruct struct {
	ID    int
	Name  string
	Score float64
	Tags  []string
}

type hashStruct struct{ Hash [64]byte }

func benchAppend[T any](b *testing.B, name string, v T) {
	c := codecOf[T](b)
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1<<20)
		for b.Loop() {
			if _, err := c.Append(buf, v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchDecode[T any](b *testing.B, name string, v T) {
	c := codecOf[T](b)
	data, err := c.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

var (
	small    = smallStruct{12345, "a name", 0.5, []string{"x", "y"}}
	manyInts = make([]int, 1000)
	anything = map[string]any{"id": 5, "name": "x", "tags": []any{"a", "b"}}
)

func BenchmarkAppend(b *testing.B) {
	benchAppend(b, "int", 123456)
	benchAppend(b, "float64", 0.5)
	benchAppend(b, "string", "hello, world")
	benchAppend(b, "string 64KiB", strings.Repeat("x", 1<<16))
	benchAppend(b, "bytes 64KiB", make([]byte, 1<<16))
	benchAppend(b, "Duration", time.Second)
	benchAppend(b, "small struct", small)
	benchAppend(b, "64 byte struct", hashStruct{})
	benchAppend(b, "1000 ints", manyInts)
	benchAppend(b, "list of 10", *listOf(10))
	benchAppend(b, "map with any", anything)
}

func BenchmarkDecode(b *testing.B) {
	benchDecode(b, "int", 123456)
	benchDecode(b, "float64", 0.5)
	benchDecode(b, "string", "hello, world")
	benchDecode(b, "string 64KiB", strings.Repeat("x", 1<<16))
	benchDecode(b, "bytes 64KiB", make([]byte, 1<<16))
	benchDecode(b, "Duration", time.Second)
	benchDecode(b, "small struct", small)
	benchDecode(b, "64 byte struct", hashStruct{})
	benchDecode(b, "1000 ints", manyInts)
	benchDecode(b, "list of 10", *listOf(10))
	benchDecode(b, "map with any", anything)
}

// What the library alone needs for the small struct, and for appending by way of its own buffer.
func BenchmarkLibrary(b *testing.B) {
	data, err := encMode.Marshal(small)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Marshal and append", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1<<20)
		for b.Loop() {
			data, err := encMode.Marshal(small)
			if err != nil {
				b.Fatal(err)
			}
			_ = append(buf, data...)
		}
	})
	b.Run("Unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v smallStruct
			if err := decMode.Unmarshal(data, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}
