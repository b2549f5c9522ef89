package codec

import (
	"encoding/binary"
	"math"
)

// The plain types have one short encoding each, written here byte for byte as the library would write it.
// Named types are not among them: they may have methods.

type signed interface {
	int | int8 | int16 | int32 | int64
}

type unsigned interface {
	uint | uint8 | uint16 | uint32 | uint64
}

// plain returns the hand-written functions for T, or nil and nil if T is not a plain type.
func plain[T any]() (func([]byte, T) []byte, func([]byte) (T, bool)) {
	for _, p := range plainTypes {
		if appendT, ok := p.append.(func([]byte, T) []byte); ok {
			return appendT, p.decode.(func([]byte) (T, bool))
		}
	}
	return nil, nil
}

// plainTypes holds for each plain type T a func([]byte, T) []byte and a func([]byte) (T, bool).
// A decode function reports false when the data is not in the plain form: then the library decides.
var plainTypes = []struct{ append, decode any }{
	{appendBool, decodeBool},
	{appendSigned[int], decodeSigned[int]},
	{appendSigned[int8], decodeSigned[int8]},
	{appendSigned[int16], decodeSigned[int16]},
	{appendSigned[int32], decodeSigned[int32]},
	{appendSigned[int64], decodeSigned[int64]},
	{appendUnsigned[uint], decodeUnsigned[uint]},
	{appendUnsigned[uint8], decodeUnsigned[uint8]},
	{appendUnsigned[uint16], decodeUnsigned[uint16]},
	{appendUnsigned[uint32], decodeUnsigned[uint32]},
	{appendUnsigned[uint64], decodeUnsigned[uint64]},
	{appendFloat32, decodeFloat32},
	{appendFloat64, decodeFloat64},
	{appendString, decodeString},
	{appendBytes, decodeBytes},
	{appendEmpty, decodeEmpty},
}

const (
	byteFalse    = 0xf4
	byteTrue     = 0xf5
	byteNull     = 0xf6
	byteFloat32  = 0xfa
	byteFloat64  = 0xfb
	byteEmptyMap = 0xa0
)

// appendHead appends the shortest head of an item.
func appendHead(dst []byte, major byte, arg uint64) []byte {
	major <<= 5
	switch {
	case arg < 24:
		return append(dst, major|byte(arg))
	case arg <= math.MaxUint8:
		return append(dst, major|24, byte(arg))
	case arg <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(arg))
	case arg <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(arg))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), arg)
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, byteTrue)
	}
	return append(dst, byteFalse)
}

func decodeBool(data []byte) (v, ok bool) {
	if len(data) != 1 {
		return false, false
	}
	return data[0] == byteTrue, data[0] == byteTrue || data[0] == byteFalse
}

func appendSigned[T signed](dst []byte, v T) []byte {
	if v < 0 {
		return appendHead(dst, majorNegative, uint64(^v))
	}
	return appendHead(dst, majorUint, uint64(v))
}

func decodeSigned[T signed](data []byte) (T, bool) {
	major, arg, size := head(data)
	if size == 0 || size != len(data) || major > majorNegative || arg > math.MaxInt64 {
		return 0, false
	}
	n := int64(arg)
	if major == majorNegative {
		n = ^n
	}
	return T(n), int64(T(n)) == n
}

func appendUnsigned[T unsigned](dst []byte, v T) []byte {
	return appendHead(dst, majorUint, uint64(v))
}

func decodeUnsigned[T unsigned](data []byte) (T, bool) {
	major, arg, size := head(data)
	if size == 0 || size != len(data) || major != majorUint {
		return 0, false
	}
	return T(arg), uint64(T(arg)) == arg
}

func appendFloat32(dst []byte, v float32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byteFloat32), math.Float32bits(v))
}

func decodeFloat32(data []byte) (float32, bool) {
	if len(data) != 5 || data[0] != byteFloat32 {
		return 0, false
	}
	return math.Float32frombits(binary.BigEndian.Uint32(data[1:])), true
}

func appendFloat64(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, byteFloat64), math.Float64bits(v))
}

func decodeFloat64(data []byte) (float64, bool) {
	if len(data) != 9 || data[0] != byteFloat64 {
		return 0, false
	}
	return math.Float64frombits(binary.BigEndian.Uint64(data[1:])), true
}

func appendString(dst []byte, v string) []byte {
	return append(appendHead(dst, majorText, uint64(len(v))), v...)
}

func decodeString(data []byte) (string, bool) {
	major, arg, size := head(data)
	if size == 0 || major != majorText || arg != uint64(len(data)-size) {
		return "", false
	}
	return string(data[size:]), true
}

func appendBytes(dst []byte, v []byte) []byte {
	if v == nil {
		return append(dst, byteNull)
	}
	return append(appendHead(dst, majorBytes, uint64(len(v))), v...)
}

func decodeBytes(data []byte) ([]byte, bool) {
	if len(data) == 1 && data[0] == byteNull {
		return nil, true
	}
	major, arg, size := head(data)
	if size == 0 || major != majorBytes || arg != uint64(len(data)-size) {
		return nil, false
	}
	v := make([]byte, arg)
	copy(v, data[size:])
	return v, true
}

func appendEmpty(dst []byte, _ struct{}) []byte { return append(dst, byteEmptyMap) }

func decodeEmpty(data []byte) (struct{}, bool) {
	return struct{}{}, len(data) == 1 && data[0] == byteEmptyMap
}
