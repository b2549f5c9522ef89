package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Reader takes a message apart from front to back. The first thing that does
// not fit sets Err and makes every later read return a zero value, so that
// decoders check once, at the end.
type Reader struct {
	data  []byte
	whole []byte
	err   error
}

// NewReader returns a Reader of data, which it aliases.
func NewReader(data []byte) *Reader { return &Reader{data: data, whole: data} }

// Err returns the first error, or nil.
func (r *Reader) Err() error { return r.err }

// Len returns how many bytes are left.
func (r *Reader) Len() int { return len(r.data) }

func (r *Reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	r.data = nil
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.data) == 0 {
		r.fail("message ends early")
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

// Uvarint reads an unsigned number.
func (r *Reader) Uvarint() uint64 {
	if len(r.data) > 0 && r.data[0] < 0x80 { // nearly all of them
		v := r.data[0]
		r.data = r.data[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail("bad number")
		return 0
	}
	r.data = r.data[n:]
	return v
}

// Varint reads a signed number.
func (r *Reader) Varint() int64 {
	u := r.Uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// Int reads an unsigned number that must fit 31 bits.
func (r *Reader) Int() int {
	v := r.Uvarint()
	if v > math.MaxInt32 {
		r.fail("number over 31 bits")
		return 0
	}
	return int(v)
}

// Long reads an unsigned number that must fit 63 bits.
func (r *Reader) Long() int64 {
	v := r.Uvarint()
	if v > math.MaxInt64 {
		r.fail("number over 63 bits")
		return 0
	}
	return int64(v)
}

// Flags reads a byte of flags of which only those in known may be set.
func (r *Reader) Flags(known byte) byte {
	b := r.Byte()
	if b&^known != 0 {
		r.fail("unknown flag")
		return 0
	}
	return b
}

// Count reads how many elements follow, each of at least one byte, so that a
// count can be trusted for an allocation.
func (r *Reader) Count() int {
	n := r.Int()
	if n > len(r.data) {
		r.fail("more elements than bytes")
		return 0
	}
	return n
}

// Bytes reads a length and so many bytes, which alias the message.
func (r *Reader) Bytes() []byte {
	n := r.Uvarint()
	if n > uint64(len(r.data)) {
		r.fail("field longer than its message")
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}

// Text reads a string.
func (r *Reader) Text() string { return string(r.Bytes()) }

// End returns Err, or an error when bytes are left over.
func (r *Reader) End() error {
	if r.err == nil && len(r.data) > 0 {
		r.fail("bytes after the end of a message")
	}
	return r.err
}

// AppendInt appends an unsigned number for Reader.Int; one out of its range
// becomes the nearest that is in it.
func AppendInt(dst []byte, n int) []byte {
	return binary.AppendUvarint(dst, uint64(min(max(n, 0), math.MaxInt32)))
}

// AppendLong appends an unsigned number for Reader.Long; a negative one becomes
// 0.
func AppendLong(dst []byte, n int64) []byte {
	return binary.AppendUvarint(dst, uint64(max(n, 0)))
}

// AppendVarint appends a signed number.
func AppendVarint(dst []byte, v int64) []byte {
	return binary.AppendUvarint(dst, uint64(v<<1)^uint64(v>>63))
}

// AppendText appends a length and a string.
func AppendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// AppendBytes appends a length and bytes.
func AppendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// Rest returns what is left, without reading it.
func (r *Reader) Rest() []byte { return r.data }

// Whole returns all that the Reader was made of.
func (r *Reader) Whole() []byte { return r.whole }
