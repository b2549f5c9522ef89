package codec_test

import (
	"bytes"
	"testing"

	"github.com/afar-go/afar/internal/codec"
)

// TestPartsOfBytes: a byte string travels without being copied, and what
// arrives is what Append's encoding would give.
func TestPartsOfBytes(t *testing.T) {
	c, err := codec.For[[]byte]()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range [][]byte{nil, {}, {1}, bytes.Repeat([]byte("x"), 23), bytes.Repeat([]byte("y"), 24), bytes.Repeat([]byte("z"), 1<<17)} {
		head, body, err := c.AppendParts([]byte("front"), v)
		if err != nil {
			t.Fatal(err)
		}
		if len(v) > 0 && &body[0] != &v[0] {
			t.Errorf("%d bytes were copied", len(v))
		}
		whole, err := c.Append([]byte("front"), v)
		if err != nil {
			t.Fatal(err)
		}
		data := append(head, body...)
		if !bytes.Equal(data, whole) {
			t.Errorf("%d bytes: parts make % .20x, Append % .20x", len(v), data, whole)
		}
		data = data[len("front"):]
		got, err := c.DecodeOwned(data)
		if err != nil || !bytes.Equal(got, v) || (got == nil) != (v == nil) {
			t.Errorf("%d bytes became %d, nil %t, %v", len(v), len(got), got == nil, err)
		}
		if len(v) > 0 && &got[0] != &data[len(data)-len(v)] {
			t.Errorf("%d owned bytes were copied", len(v))
		}
		within, err := codec.Bytes(data)
		if err != nil || !bytes.Equal(within, v) {
			t.Errorf("Bytes of %d gave %d, %v", len(v), len(within), err)
		}
	}
}

// TestPartsOfOthers: what is not a byte string is encoded whole, and decoded as
// by Decode.
func TestPartsOfOthers(t *testing.T) {
	type pair struct{ A, B int }
	c, err := codec.For[pair]()
	if err != nil {
		t.Fatal(err)
	}
	head, body, err := c.AppendParts(nil, pair{1, 2})
	if err != nil || body != nil {
		t.Fatalf("body %v, %v", body, err)
	}
	if got, err := c.DecodeOwned(head); err != nil || got != (pair{1, 2}) {
		t.Errorf("became %v, %v", got, err)
	}
	named, err := codec.For[namedBytes]()
	if err != nil {
		t.Fatal(err)
	}
	if _, body, err := named.AppendParts(nil, namedBytes("abc")); err != nil || body != nil {
		t.Errorf("a named type, which might have methods, was split: %v, %v", body, err)
	}
}

type namedBytes []byte

// TestBytesThatAreNone: garbage is an error, never a slice beyond the data.
func TestBytesThatAreNone(t *testing.T) {
	c, err := codec.For[[]byte]()
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{nil, {0x01}, {0x42, 1}, {0x41, 1, 2}, {0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x61, 'a'}, {0x5f, 0xff}} {
		if b, err := codec.Bytes(data); err == nil {
			t.Errorf("Bytes of % x gave % x", data, b)
		}
		if b, err := c.DecodeOwned(data); err == nil {
			t.Errorf("DecodeOwned of % x gave % x", data, b)
		}
	}
}
