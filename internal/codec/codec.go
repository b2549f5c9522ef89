// Package codec turns Go values into CBOR bytes and back, in one mode that is fixed once.
//
// # What travels
//
// For walks a type once, when a program registers it, and refuses with the path to the field what would not arrive:
// chan, func, complex, uintptr, unsafe.Pointer, interfaces with methods, structs without any exported field,
// big.Float, types that marshal themselves but do not unmarshal the same way, fields that a json tag or a second
// field of the same name would drop in silence, and map keys that would not be keys again. Unexported fields
// beside exported ones do not travel. A field tagged `cbor:"-"` is left out on purpose. A type's own MarshalCBOR,
// MarshalBinary or MarshalText is used, in that order; MarshalJSON never is.
//
// What arrives differs from what was sent in these ways only:
//
//   - pointers that were shared arrive as separate copies; a cyclic value is refused by Append;
//   - a pointer to a nil slice, map, pointer or interface, or to a zero time.Time, arrives as nil;
//   - a time.Time keeps its instant and its offset, but neither the zone's name nor the monotonic reading;
//     Append refuses years beyond 0 to 9999, and offsets that are not whole minutes, as before 1900;
//   - a value in an any arrives as nil, bool, int64, float64, string, []byte, []any, map[string]any, time.Time,
//     *big.Int (integers beyond int64), cbor.SimpleValue or cbor.Tag; a map with a key that is not a string
//     arrives as map[any]any, where keys that are byte strings have the type cbor.ByteString;
//   - a signaling NaN in a float32 may arrive quiet. All other floats, NaN payloads, infinities and -0
//     arrive bit for bit;
//   - an array arrives cut or filled with zeros if the two sides disagree about its length.
//
// Nil and empty slices and maps stay apart, and strings need not be UTF-8. Unknown struct fields are
// ignored, field names match in exact case, and a map that holds a key twice does not decode.
//
// # Limits and hostile bytes
//
// Decode accepts any bytes and does not panic. Values nest up to MaxNestedLevels deep, and Append refuses deeper ones,
// so that the far side need not. Arrays and maps have up to 2,147,483,647 elements. Items of indefinite
// length and more than 8 tags in a row, which Append never writes, are refused.
//
// Before anything is built the bytes are checked to be well-formed, so a length without the data behind it
// allocates nothing. From then on one byte of input makes at most one element, of the size that it has in Go with
// what its pointers point to. So n bytes decoded into a []E allocate at most n times the size of E; into maps
// from K to V, n times 64 bytes and 8 times the sizes of K and V; into an any, 512 bytes for each byte.
// Mistyped elements cost up to 512 bytes of garbage a byte. The stack grows to at most 32 MiB at full nesting.
//
// Time is proportional to the length of the input too, save that of turning big numbers from or into decimals, as a
// big.Rat needs and the error for a big.Int that was sent to an int: one of 1 MiB takes about a second.
// Not counted is what a type's own unmarshal method does: a big.Rat of "1e1000000" takes 400 KiB.
//
// Panics of a user's marshal and unmarshal methods are not recovered here.
package codec

import "reflect"

// Codec encodes and decodes values of one type. Get one from For; the zero value is not usable.
// A Codec is immutable and safe for concurrent use.
type Codec[T any] struct {
	shape *shape

	// Set for the few plain types that need neither reflection nor the library.
	appendPlain func(dst []byte, v T) []byte
	decodePlain func(data []byte) (v T, ok bool)

	// Set for []byte, which needs no copy either.
	bytesOf func(T) []byte
	ofBytes func([]byte) T
}

// For returns the codec of T. The error, if any, is an *Error that says which part of T cannot travel and why.
func For[T any]() (*Codec[T], error) {
	s, err := shapeFor(reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	c := &Codec[T]{shape: s}
	c.appendPlain, c.decodePlain = plain[T]()
	c.bytesOf, c.ofBytes = identity[T]()
	return c, nil
}

// Append appends the encoding of v to dst and returns the longer slice, which may share dst's array.
// On error it returns dst with its length unchanged, and an *Error: v is cyclic, nested too deep, holds in an
// any something that cannot travel, or a marshal method failed.
func (c *Codec[T]) Append(dst []byte, v T) ([]byte, error) {
	if c.appendPlain != nil {
		return c.appendPlain(dst, v), nil
	}
	return encode(dst, v, c.shape)
}

// Decode returns the value that data holds. Data is exactly one encoded value: trailing bytes are an error.
// The result shares no memory with data. On error, which is an *Error, the result is the zero value.
func (c *Codec[T]) Decode(data []byte) (T, error) {
	if c.decodePlain != nil {
		if v, ok := c.decodePlain(data); ok {
			return v, nil
		}
	}
	v := new(T)
	if err := decode(data, v, c.shape); err != nil {
		var zero T
		return zero, err
	}
	return *v, nil
}

// Marshal returns the encoding of v, which must be of a type that For accepts. It is meant for the protocol's own
// small messages; calls with a type known at compile time use a Codec. A nil v encodes as null.
// The error, if any, is an *Error. Marshal is safe for concurrent use.
func Marshal(v any) ([]byte, error) {
	if v == nil {
		return []byte{byteNull}, nil
	}
	s, err := shapeFor(reflect.TypeOf(v))
	if err != nil {
		return nil, err
	}
	return encode(nil, v, s)
}

// Unmarshal decodes data, exactly one encoded value, into what v points to. Like encoding/json it keeps what is
// already there and not in data. On error, which is an *Error, what v points to may be partly filled.
// Unmarshal is safe for concurrent use with different v.
func Unmarshal(data []byte, v any) error {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return &Error{Type: typeText(reflect.TypeOf(v)), Reason: "Unmarshal needs a pointer that is not nil"}
	}
	s, err := shapeFor(p.Type().Elem())
	if err != nil {
		return err
	}
	return decode(data, v, s)
}
