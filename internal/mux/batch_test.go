package mux

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/afar-go/afar/internal/wire"
)

// Whatever comes over a link, measure finds the small items of one stream that
// are whole, and a batch gives them back.
func TestBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SampledFrom([]uint64{1, 7, 8, 2000, 1 << 40}).Draw(t, "stream")
		limit := rapid.SampledFrom([]int{0, 5, 200, smallItem}).Draw(t, "limit")
		tag := wire.AppendHeader(nil, wire.Header{Stream: id, Kind: wire.Item})
		tag = tag[:len(tag)-1]
		var data []byte
		var items [][]byte
		for range rapid.IntRange(0, 20).Draw(t, "items") {
			n := rapid.SampledFrom([]int{0, 1, 5, 6, 127, 128, 200, 201, smallItem}).Draw(t, "size")
			items = append(items, content("", n))
			data = wire.AppendHeader(data, wire.Header{Stream: id, Kind: wire.Item, Length: n})
			data = append(data, items[len(items)-1]...)
		}
		whole := len(data)
		switch rapid.IntRange(0, 3).Draw(t, "tail") {
		case 0:
			data = wire.AppendHeader(data, wire.Header{Stream: id, Kind: wire.Credit, Length: 1})
		case 1:
			data = wire.AppendHeader(data, wire.Header{Stream: id + 2, Kind: wire.Item})
		case 2:
			data = data[:rapid.IntRange(0, len(data)).Draw(t, "cut")]
		}
		size, n, charge := measure(data, tag, limit)
		var b batch
		b.add(data[:size/2])
		b.add(data[size/2 : size])
		b.addLarge(largeItem{[]byte("large"), 99})
		for i := range n {
			got, large, cost := b.next(len(tag))
			if large || !bytes.Equal(got, items[i]) || len(got) > limit || cost != len(got)+itemCost {
				t.Fatalf("item %d of %d: %d bytes, want %d", i, n, len(got), len(items[i]))
			}
			charge -= cost
		}
		if got, large, cost := b.next(len(tag)); !large || string(got) != "large" || cost != 99 || !b.empty() {
			t.Fatalf("the large one: %q", got)
		}
		if charge != 0 || size > len(data) || size > whole {
			t.Fatalf("%d bytes measured of %d, %d too much charged", size, len(data), charge)
		}
		if n < len(items) && size < runLimit {
			next := data[size:]
			if h, head, err := wire.ParseHeader(next); err == nil && head > 0 && h.Length <= limit && head+h.Length <= len(next) {
				t.Fatalf("item %d was not measured", n)
			}
		}
	})
}

func TestBatchIsUsedAgain(t *testing.T) {
	var b batch
	b.add(make([]byte, 100))
	b.reset(false)
	if cap(b.data) < 100 || !b.empty() {
		t.Error("a little memory was given away")
	}
	b.add(make([]byte, 1<<20))
	b.reset(true)
	if cap(b.data) < 1<<20 || !b.empty() {
		t.Error("memory that is needed soon was given away")
	}
	b.reset(false)
	if cap(b.data) != 0 {
		t.Error("much memory was kept")
	}
}

func TestBuffers(t *testing.T) {
	for _, n := range []int{0, 1, minPooled - 1, minPooled, 5000, 64<<10 + slack, 1 << 20, maxPooled, maxPooled + 1} {
		for range 3 {
			b := Buffer(n)
			if len(b) != 0 || cap(b) < n || cap(b) > 2*n+64 {
				t.Errorf("for %d bytes a buffer of %d with room for %d", n, len(b), cap(b))
			}
			Free(b)
			Free(make([]byte, n+n/3))
		}
	}
	Free(nil)
}
