package member

import (
	"errors"
	"reflect"
	"time"

	"github.com/afar-go/afar/internal/codec"
)

// travels returns the codec's error if values of type t cannot travel, whatever they are.
func travels(t reflect.Type) error {
	// To encode a nil pointer to t, the codec checks t, and then calls nothing of it.
	_, err := codec.Marshal(reflect.Zero(reflect.PointerTo(t)).Interface())
	return err
}

// encode encodes v, or if v is an interface what is in it.
func encode(v reflect.Value) (Result, error) {
	x := v.Interface()
	if v.Kind() != reflect.Interface {
		data, err := codec.Marshal(x)
		return Result{Output: data, Type: codec.TypeName(v.Type())}, err
	}
	// Through a pointer, the codec sees an any and not only what is in it.
	data, err := codec.Marshal(&x)
	return Result{Output: data, Type: codec.TypeName(reflect.TypeOf(x))}, err
}

// decode returns the value of type t that data holds.
func decode(data []byte, t reflect.Type) (reflect.Value, error) {
	if isNull(data) && !takesNull(t) {
		// For the codec null is what leaves a value as it is. As an argument it would be a silent zero.
		return reflect.Value{}, errors.New("nil is no value of type " + typeText(t))
	}
	v := reflect.New(t)
	if err := codec.Unmarshal(data, v.Interface()); err != nil {
		return reflect.Value{}, err
	}
	return v.Elem(), nil
}

// takesNull reports whether null stands for a value of type t.
func takesNull(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return true
	}
	type unmarshaler interface{ UnmarshalCBOR([]byte) error }
	return t == reflect.TypeFor[time.Time]() || reflect.PointerTo(t).Implements(reflect.TypeFor[unmarshaler]())
}

// isNull reports whether data is CBOR's null or undefined, behind any tags.
func isNull(data []byte) bool {
	const (
		majorTag  = 6
		null      = 0xf6
		undefined = 0xf7
	)
	for len(data) > 0 && data[0]>>5 == majorTag {
		size := 1
		if info := data[0] & 0x1f; info >= 24 && info < 28 {
			size += 1 << (info - 24) // The tag's number is in that many bytes.
		}
		if size > len(data) {
			return false
		}
		data = data[size:]
	}
	return len(data) == 1 && (data[0] == null || data[0] == undefined)
}
