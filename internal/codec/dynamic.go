package codec

import (
	"errors"
	"reflect"

	"github.com/fxamacker/cbor/v2"
)

// The library decodes each map in an any to one and the same Go type. People expect map[string]any, and nearly
// always get it at once. Only when a key is not a string is the data decoded again, with map[any]any, and then
// all maps whose keys are strings after all are turned into map[string]any. The library takes null and tagged text
// for strings where it wants one: Append refuses such keys in an any, but those of another program become strings.

// isKeyError reports whether err may come from a key that is not a string.
func isKeyError(err error) bool {
	var mismatch *cbor.UnmarshalTypeError
	return errors.As(err, &mismatch) && mismatch.GoType == "string"
}

// decodeAnyKeys decodes data into v, a pointer to a value of s's type, allowing any keys in maps in an any.
// On error what v points to is unchanged.
func decodeAnyKeys(data []byte, v any, s *shape) error {
	fresh := reflect.New(s.typ)
	if err := anyKeyMode.Unmarshal(data, fresh.Interface()); err != nil {
		return err
	}
	narrow(fresh.Elem(), s)
	reflect.ValueOf(v).Elem().Set(fresh.Elem())
	return nil
}

// narrow turns, in every any within v, maps with string keys into map[string]any. V can be set.
func narrow(v reflect.Value, s *shape) {
	if s.traits&dynamic == 0 {
		return
	}
	switch s.typ.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			v.Set(reflect.ValueOf(narrowAny(v.Interface())))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			narrow(v.Elem(), s.elem)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			narrow(v.Index(i), s.elem)
		}
	case reflect.Struct:
		for _, f := range s.fields {
			narrow(v.Field(f.index), f.shape)
		}
	case reflect.Map:
		narrowMap(v, s)
	}
}

func narrowMap(v reflect.Value, s *shape) {
	if v.IsNil() {
		return
	}
	// A new map, because a NaN key of the old one cannot be set again.
	m := reflect.MakeMapWithSize(s.typ, v.Len())
	for iter := v.MapRange(); iter.Next(); {
		e := reflect.New(s.typ.Elem()).Elem()
		e.Set(iter.Value())
		narrow(e, s.elem)
		m.SetMapIndex(iter.Key(), e)
	}
	v.Set(m)
}

// narrowAny returns x, which is not nil, with its maps narrowed.
func narrowAny(x any) any {
	switch x := x.(type) {
	case []any:
		for i, e := range x {
			x[i] = narrowAny(e)
		}
	case cbor.Tag:
		x.Content = narrowAny(x.Content)
		return x
	case map[any]any:
		return narrowKeys(x)
	}
	return x
}

// narrowKeys returns a map[string]any if all keys are strings, else a map[any]any. Both are new maps, because to
// assign to a NaN key of the old one would add another.
func narrowKeys(x map[any]any) any {
	keyed := make(map[any]any, len(x))
	named := make(map[string]any, len(x))
	for k, e := range x {
		e = narrowAny(e)
		if name, ok := k.(string); ok {
			named[name] = e
		} else {
			keyed[k] = e
		}
	}
	if len(keyed) == 0 {
		return named
	}
	for name, e := range named {
		keyed[name] = e
	}
	return keyed
}
