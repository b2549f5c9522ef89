package codec

import (
	"reflect"
	"strconv"
	"time"
)

// walk looks through a value before the library does, because the library's encoder follows a cycle until the
// stack overflows, which no recover can catch. It also finds what cannot travel inside an any and times that
// have no exact text, and reports whether a MarshalCBOR method is among what will be encoded in an any.
//
// Each cycle goes through a struct, slice, array, map or interface, so a bound on the depth finds all of them, and
// the first try keeps no record of where it has been. Only a value that is too deep is looked at again, to
// tell a cycle from a long list and to name the path at which it closes.
func walk(v reflect.Value, s *shape) (foreign bool, r *refusal) {
	w := walker{}
	if r = w.root(v, s); r != nil && r.deep {
		w = walker{path: make(map[place]bool)}
		r = w.root(v, s)
	}
	return w.foreign, r
}

type walker struct {
	levels  int            // arrays and maps around the current value, as CBOR counts them
	hops    int            // calls of value on the stack
	opened  int            // anys around the current value
	path    map[place]bool // where the current value is reached through; nil in the quick try
	foreign bool
}

// A place is where a pointer, map or slice points. The type is part of it because a struct and its first field have
// one address, and the length because slices of one array may contain each other without being cyclic.
type place struct {
	typ  reflect.Type
	addr uintptr
	len  int
}

// maxHops bounds what the walk and the encoder need of the stack even where CBOR counts no level, as in a
// pointer to an any that holds a pointer to an any.
const maxHops = 8 * MaxNestedLevels

func (w *walker) root(v reflect.Value, s *shape) *refusal {
	if s.typ.Kind() == reflect.Interface {
		// Converted to an argument of type any, the value has lost its static type.
		if !v.IsValid() {
			return nil
		}
		return w.open(v)
	}
	return w.value(v, s)
}

func (w *walker) value(v reflect.Value, s *shape) *refusal {
	if !s.walked() {
		return nil
	}
	if w.hops >= maxHops {
		return tooDeep()
	}
	w.hops++
	defer func() { w.hops-- }()

	if s.typ == typeTime {
		return checkTime(v.Interface().(time.Time))
	}
	switch s.typ.Kind() {
	case reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return w.open(v.Elem())
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return w.through(v, 0, func() *refusal { return w.value(v.Elem(), s.elem) })
	case reflect.Struct:
		return w.nested(s.flat, func() *refusal { return w.fields(v, s) })
	case reflect.Array:
		return w.nested(false, func() *refusal { return w.elements(v, s) })
	case reflect.Slice:
		return w.through(v, v.Len(), func() *refusal {
			return w.nested(false, func() *refusal { return w.elements(v, s) })
		})
	case reflect.Map:
		return w.through(v, 0, func() *refusal {
			return w.nested(false, func() *refusal { return w.entries(v, s) })
		})
	}
	return nil
}

// open walks the value inside an any, whose type is only known now.
func (w *walker) open(v reflect.Value) *refusal {
	s, r := shapeOf(v.Type())
	if r != nil {
		return r
	}
	if s.traits&compositeKeys != 0 {
		return refuse(s.typ.String() + " has a map whose keys cannot be decoded into an any: give the map a static type")
	}
	w.opened++
	defer func() { w.opened-- }()
	w.foreign = w.foreign || s.traits&foreign != 0
	return w.value(v, s)
}

// through enters what v refers to, unless it is already being walked.
func (w *walker) through(v reflect.Value, length int, enter func() *refusal) *refusal {
	if w.path == nil {
		return enter()
	}
	p := place{v.Type(), v.Pointer(), length}
	if w.path[p] {
		return refuse("cyclic value")
	}
	w.path[p] = true
	defer delete(w.path, p)
	return enter()
}

// nested enters an array or map of CBOR. A flat struct is not one.
func (w *walker) nested(flat bool, enter func() *refusal) *refusal {
	if flat {
		return enter()
	}
	if w.levels >= MaxNestedLevels {
		return tooDeep()
	}
	w.levels++
	defer func() { w.levels-- }()
	return enter()
}

func tooDeep() *refusal {
	r := refuse("nested deeper than " + strconv.Itoa(MaxNestedLevels) + " levels")
	r.deep = true
	return r
}

func (w *walker) fields(v reflect.Value, s *shape) *refusal {
	for i := range s.fields {
		f := &s.fields[i]
		if r := w.field(v.Field(f.index), f); r != nil {
			return r.at("." + f.name)
		}
	}
	return nil
}

// field walks a field. The fields of an embedded struct count as fields of the struct around it.
func (w *walker) field(v reflect.Value, f *field) *refusal {
	if !f.embedded || !f.shape.walked() {
		return w.value(v, f.shape)
	}
	s := f.shape
	if s.typ.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		return w.through(v, 0, func() *refusal { return w.fields(v.Elem(), s.elem) })
	}
	return w.fields(v, s)
}

func (w *walker) elements(v reflect.Value, s *shape) *refusal {
	for i := range v.Len() {
		if r := w.value(v.Index(i), s.elem); r != nil {
			return r.at("[" + strconv.Itoa(i) + "]")
		}
	}
	return nil
}

func (w *walker) entries(v reflect.Value, s *shape) *refusal {
	for iter := v.MapRange(); iter.Next(); {
		key := iter.Key()
		r := w.anyKey(key)
		if r == nil {
			r = w.value(key, s.key)
		}
		if r == nil {
			r = w.value(iter.Value(), s.elem)
		}
		if r != nil {
			return r.at("[" + keyText(key) + "]")
		}
	}
	return nil
}

// checkTime refuses times that RFC 3339 has no text for, or only that of another instant.
func checkTime(t time.Time) *refusal {
	_, offset := t.Zone()
	switch year := t.Year(); {
	case year < 0 || year > 9999:
		return refuse("the year " + strconv.Itoa(year) + " is not within 0 to 9999")
	case offset%60 != 0 || offset <= -24*3600 || offset >= 24*3600:
		return refuse("the zone's offset of " + strconv.Itoa(offset) + " seconds has no text in RFC 3339: send the time in UTC")
	}
	return nil
}

// anyKey refuses a key in an any that would not be the same key when it is decoded.
func (w *walker) anyKey(key reflect.Value) *refusal {
	if key.Kind() != reflect.Interface {
		return nil // Its type has been checked.
	}
	if key.IsNil() {
		if w.opened > 0 {
			return refuse("a nil key would be decoded into an any as an empty string")
		}
		return nil
	}
	switch t := key.Elem().Type(); t {
	case typeBigIntPointer, typeByteString, typeSimpleValue: // Decode makes these.
		return nil
	case typeTime:
		if w.opened == 0 {
			return nil
		}
		return refuse("a time.Time key would be decoded into an any as a string")
	default:
		if isScalar(t) {
			return nil
		}
		return refuse("a key of type " + t.String() + " cannot be decoded into an any")
	}
}

// keyText prints a map's key for a path. It does not call methods of the key's type.
func keyText(key reflect.Value) string {
	for key.Kind() == reflect.Interface && !key.IsNil() {
		key = key.Elem()
	}
	switch {
	case key.Kind() == reflect.String:
		const most = 64
		if s := key.String(); len(s) > most {
			return strconv.Quote(s[:most]) + "…"
		}
		return strconv.Quote(key.String())
	case key.Kind() == reflect.Bool:
		return strconv.FormatBool(key.Bool())
	case key.CanInt():
		return strconv.FormatInt(key.Int(), 10)
	case key.CanUint():
		return strconv.FormatUint(key.Uint(), 10)
	case key.CanFloat():
		return strconv.FormatFloat(key.Float(), 'g', -1, 64)
	}
	if key.Kind() == reflect.Interface {
		return "nil"
	}
	return key.Type().String()
}
