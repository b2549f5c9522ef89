package peer

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// Record is a log record on its way.
type Record struct {
	Time    time.Time
	Level   slog.Level
	Message string
	Attrs   []slog.Attr
}

// maxGroups bounds how deep groups of attributes may nest.
const maxGroups = 32

// Kinds of attribute values on the link.
const (
	attrText byte = iota
	attrInt
	attrUint
	attrFloat
	attrBool
	attrDuration
	attrTime
	attrGroup
)

// Append appends the record's encoding.
func (r *Record) Append(dst []byte) []byte {
	dst = appendTime(dst, r.Time)
	dst = wire.AppendVarint(dst, int64(r.Level))
	dst = wire.AppendText(dst, r.Message)
	return appendAttrs(dst, r.Attrs, 0)
}

// maxRecord is how many bytes a record may have on the link: less than any
// limit on messages, since one over it would end the link.
const maxRecord = 512 << 10

// cut returns what is sent of a record that is too large.
func (r *Record) cut() *Record {
	return &Record{Time: r.Time, Level: r.Level, Message: cutText(r.Message, maxRecord/2),
		Attrs: []slog.Attr{slog.String("!CUT", fmt.Sprintf("message of %d bytes, %d attributes", len(r.Message), len(r.Attrs)))}}
}

// cutText returns the first n bytes of a text at the most.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + fmt.Sprintf("… (%d bytes in all)", len(s))
}

// appendTime keeps the nanoseconds and the offset. The zero time stays zero.
func appendTime(dst []byte, t time.Time) []byte {
	b, err := t.Round(0).MarshalBinary()
	if err != nil { // an offset with a fraction of a minute, or a year too far
		b, _ = t.UTC().MarshalBinary()
	}
	return wire.AppendBytes(dst, b)
}

func parseTime(r *wire.Reader) time.Time {
	var t time.Time
	_ = t.UnmarshalBinary(r.Bytes()) // a record with a bad time is still a record
	return t
}

func appendAttrs(dst []byte, attrs []slog.Attr, depth int) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(attrs)))
	for _, a := range attrs {
		dst = appendValue(wire.AppendText(dst, a.Key), a.Value.Resolve(), depth)
	}
	return dst
}

func appendValue(dst []byte, v slog.Value, depth int) []byte {
	switch v.Kind() {
	case slog.KindInt64:
		return wire.AppendVarint(append(dst, attrInt), v.Int64())
	case slog.KindUint64:
		return binary.AppendUvarint(append(dst, attrUint), v.Uint64())
	case slog.KindFloat64:
		return binary.AppendUvarint(append(dst, attrFloat), math.Float64bits(v.Float64()))
	case slog.KindBool:
		var n uint64
		if v.Bool() {
			n = 1
		}
		return binary.AppendUvarint(append(dst, attrBool), n)
	case slog.KindDuration:
		return wire.AppendVarint(append(dst, attrDuration), int64(v.Duration()))
	case slog.KindTime:
		return appendTime(append(dst, attrTime), v.Time())
	case slog.KindGroup:
		if depth < maxGroups {
			return appendAttrs(append(dst, attrGroup), v.Group(), depth+1)
		}
	}
	return wire.AppendText(append(dst, attrText), text(v))
}

// text renders a value that has no form of its own on the link. Its methods
// are the user's.
func text(v slog.Value) (s string) {
	defer func() {
		if p := recover(); p != nil {
			s = fmt.Sprintf("!PANIC: %v", p)
		}
	}()
	if v.Kind() == slog.KindAny {
		if err, ok := v.Any().(error); ok {
			return err.Error()
		}
		return fmt.Sprintf("%+v", v.Any())
	}
	return v.String()
}

// ParseRecord reads what Append has written; what is wrong with it is r's error.
func ParseRecord(r *wire.Reader) *Record {
	return &Record{Time: parseTime(r), Level: slog.Level(r.Varint()), Message: r.Text(), Attrs: parseAttrs(r, 0)}
}

func parseAttrs(r *wire.Reader, depth int) []slog.Attr {
	n := r.Count()
	attrs := make([]slog.Attr, 0, min(n, 64))
	for i := 0; i < n && r.Err() == nil; i++ {
		key := r.Text()
		attrs = append(attrs, slog.Attr{Key: key, Value: parseValue(r, depth)})
	}
	return attrs
}

func parseValue(r *wire.Reader, depth int) slog.Value {
	switch r.Byte() {
	case attrInt:
		return slog.Int64Value(r.Varint())
	case attrUint:
		return slog.Uint64Value(r.Uvarint())
	case attrFloat:
		return slog.Float64Value(math.Float64frombits(r.Uvarint()))
	case attrBool:
		return slog.BoolValue(r.Uvarint() != 0)
	case attrDuration:
		return slog.DurationValue(time.Duration(r.Varint()))
	case attrTime:
		return slog.TimeValue(parseTime(r))
	case attrGroup:
		if depth < maxGroups {
			return slog.GroupValue(parseAttrs(r, depth+1)...)
		}
		r.Bytes()
		return slog.Value{}
	default:
		return slog.StringValue(r.Text())
	}
}
