package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// MaxNestedLevels is how deep arrays, maps and structs may nest in one value: a linked list may be that long.
const MaxNestedLevels = 4096

// maxTagRun is how many CBOR tags may follow each other in front of one item. The library's time is quadratic
// in that number, and nothing in this mode writes more than one.
const maxTagRun = 8

var encMode = must(cbor.EncOptions{
	ShortestFloat: cbor.ShortestFloatNone,
	NaNConvert:    cbor.NaNConvertNone,
	InfConvert:    cbor.InfConvertNone,
	BigIntConvert: cbor.BigIntConvertShortest,
	Time:          cbor.TimeRFC3339Nano,
	TimeTag:       cbor.EncTagRequired,
	IndefLength:   cbor.IndefLengthForbidden,
	NilContainers: cbor.NilContainerAsNull,
	TextMarshaler: cbor.TextMarshalerTextString,
}.UserBufferEncMode())

var decOptions = cbor.DecOptions{
	// A message that says a thing twice could be read in two ways by two readers.
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	TimeTag:           cbor.DecTagOptional,
	MaxNestedLevels:   MaxNestedLevels,
	MaxArrayElements:  math.MaxInt32,
	MaxMapPairs:       math.MaxInt32,
	IndefLength:       cbor.IndefLengthForbidden, // The library counts their elements again at each level.
	IntDec:            cbor.IntDecConvertSignedOrBigInt,
	BigIntDec:         cbor.BigIntDecodePointer,
	UTF8:              cbor.UTF8DecodeInvalid,
	FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	TextUnmarshaler:   cbor.TextUnmarshalerTextString,
	DefaultMapType:    reflect.TypeFor[map[string]any](),
}

var decMode = must(decOptions.DecMode())

// anyKeyMode makes every map in an any a map[any]any. It is the second try when a key is not a string.
var anyKeyMode = func() cbor.DecMode {
	o := decOptions
	o.DefaultMapType = nil
	return must(o.DecMode())
}()

// must is for the modes above, whose options are constants: a test that runs at all proves them valid.
func must[M any](m M, err error) M {
	if err != nil {
		panic(err)
	}
	return m
}

// buffers holds the headers of bytes.Buffers. Their contents always belong to a caller.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// encode appends v, a value of s's type, to dst.
func encode(dst []byte, v any, s *shape) ([]byte, error) {
	foreign := s.traits&foreign != 0
	if s.walked() {
		found, r := walk(reflect.ValueOf(v), s)
		if r != nil {
			return dst, r.error(s.typ)
		}
		foreign = foreign || found
	}

	buf := buffers.Get().(*bytes.Buffer)
	*buf = *bytes.NewBuffer(dst)
	err := encMode.MarshalToBuffer(v, buf)
	out := buf.Bytes()
	*buf = bytes.Buffer{}
	buffers.Put(buf)

	if err == nil && foreign {
		// A MarshalCBOR method may return what the far side would refuse; better to say it here.
		err = wellformed(out[len(dst):])
	}
	if err != nil {
		return dst, &Error{Type: typeText(s.typ), Err: err}
	}
	return out, nil
}

// decode fills v, a pointer to a value of s's type.
func decode(data []byte, v any, s *shape) error {
	err := checkTags(data)
	if err == nil {
		err = decMode.Unmarshal(data, v)
	}
	if err != nil && s.traits&dynamic != 0 && isKeyError(err) && decodeAnyKeys(data, v, s) == nil {
		return nil
	}
	if err != nil {
		return decodeError(s.typ, err)
	}
	return nil
}

// wellformed reports why the far side would not even begin to decode data, if so.
func wellformed(data []byte) error {
	if err := checkTags(data); err != nil {
		return err
	}
	return decMode.Wellformed(data)
}

var errTagRun = errors.New("more than " + strconv.Itoa(maxTagRun) + " CBOR tags in a row")

// checkTags looks for too many tags in a row. Without items of indefinite length every head in the data follows
// the one before, so nesting need not be known. What is malformed is left for the library to report.
func checkTags(data []byte) error {
	run := 0
	for off := 0; off < len(data); {
		major, arg, size := head(data[off:])
		if size == 0 {
			return nil
		}
		off += size
		switch major {
		case majorBytes, majorText:
			if arg > uint64(len(data)-off) {
				return nil
			}
			off += int(arg)
			run = 0
		case majorTag:
			if run++; run > maxTagRun {
				return errTagRun
			}
		default:
			run = 0
		}
	}
	return nil
}

const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorOther
)

// head reads the head of one item: its major type, its argument, and the number of bytes that they take, which
// is 0 when there is no complete head of definite length.
func head(data []byte) (major byte, arg uint64, size int) {
	if len(data) == 0 {
		return 0, 0, 0
	}
	major, info := data[0]>>5, data[0]&31
	switch {
	case info < 24:
		return major, uint64(info), 1
	case info == 24 && len(data) >= 2:
		return major, uint64(data[1]), 2
	case info == 25 && len(data) >= 3:
		return major, uint64(binary.BigEndian.Uint16(data[1:])), 3
	case info == 26 && len(data) >= 5:
		return major, uint64(binary.BigEndian.Uint32(data[1:])), 5
	case info == 27 && len(data) >= 9:
		return major, binary.BigEndian.Uint64(data[1:]), 9
	}
	return 0, 0, 0
}

// decodeError wraps an error of the library. The library names the outermost field, if it is in a struct.
func decodeError(t reflect.Type, err error) *Error {
	if err == io.EOF {
		// Callers that read a stream take io.EOF for its proper end.
		err = io.ErrUnexpectedEOF
	}
	e := &Error{Type: typeText(t), Err: err}
	var mismatch *cbor.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		if field, ok := strings.CutPrefix(mismatch.StructFieldName, e.Type+"."); ok {
			e.Path = field
		}
	}
	return e
}
