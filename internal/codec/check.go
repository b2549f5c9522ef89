package codec

import (
	"math/big"
	"reflect"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// A shape is what the codec knows of a type: that it can travel, and which of its parts a walk must visit.
// Shapes form the same graph as the types, cycles included, and do not change once published.
type shape struct {
	typ    reflect.Type
	traits traits
	key    *shape  // of a map
	elem   *shape  // of a pointer, slice, array or map
	fields []field // of a struct, those that travel
	flat   bool    // a struct that is not a map or array in CBOR
	open   bool    // still being built
}

type field struct {
	index    int
	name     string
	embedded bool // its fields travel as fields of the struct around it
	shape    *shape
}

// traits say what can be reached from a type.
type traits uint8

const (
	recursive     traits = 1 << iota // a type that contains itself
	dynamic                          // an any
	foreign                          // a MarshalCBOR method, or a tag of the user's
	compositeKeys                    // a map whose keys do not decode into an any
	timed                            // a time.Time
)

// walked reports whether values of this type can be cyclic or hold something that cannot travel.
func (s *shape) walked() bool { return s.traits&(recursive|dynamic|timed) != 0 }

var (
	typeTime     = reflect.TypeFor[time.Time]()
	typeBigInt   = reflect.TypeFor[big.Int]()
	typeBigFloat = reflect.TypeFor[big.Float]()
	typeTag      = reflect.TypeFor[cbor.Tag]()

	// Keys in an any that Decode makes.
	typeBigIntPointer = reflect.TypeFor[*big.Int]()
	typeByteString    = reflect.TypeFor[cbor.ByteString]()
	typeSimpleValue   = reflect.TypeFor[cbor.SimpleValue]()
)

// verdicts holds a verdict for each type that has been looked at: the types are those of the program, hence few.
var verdicts sync.Map // reflect.Type → verdict

type verdict struct {
	shape   *shape
	refusal *refusal
}

// shapeFor is shapeOf with an error to return.
func shapeFor(t reflect.Type) (*shape, error) {
	s, r := shapeOf(t)
	if r != nil {
		return nil, r.error(t)
	}
	return s, nil
}

// shapeOf returns the shape of t, or why t cannot travel. The caller owns the refusal.
func shapeOf(t reflect.Type) (*shape, *refusal) {
	if v, ok := verdicts.Load(t); ok {
		v := v.(verdict)
		if v.refusal != nil {
			return nil, v.refusal.clone()
		}
		return v.shape, nil
	}
	b := builder{shapes: make(map[reflect.Type]*shape)}
	s, r := b.shape(t)
	if r != nil {
		verdicts.Store(t, verdict{refusal: r.clone()})
		return nil, r
	}
	b.spreadTraits()
	for t, s := range b.shapes {
		verdicts.Store(t, verdict{shape: s})
	}
	return s, nil
}

// A builder makes the shapes of all types that can be reached from one.
type builder struct {
	shapes map[reflect.Type]*shape
}

func (b *builder) shape(t reflect.Type) (*shape, *refusal) {
	if s, ok := b.shapes[t]; ok {
		if s.open {
			s.traits |= recursive
		}
		return s, nil
	}
	s := &shape{typ: t, open: true}
	b.shapes[t] = s
	r := b.fill(s)
	s.open = false
	return s, r
}

// spreadTraits gives each shape the traits of all that it leads to.
func (b *builder) spreadTraits() {
	for changed := true; changed; {
		changed = false
		for _, s := range b.shapes {
			all := s.traits
			for _, part := range []*shape{s.key, s.elem} {
				if part != nil {
					all |= part.traits
				}
			}
			for _, f := range s.fields {
				all |= f.shape.traits
			}
			changed = changed || all != s.traits
			s.traits = all
		}
	}
}

// fill completes s, or says why its type cannot travel.
func (b *builder) fill(s *shape) *refusal {
	t := s.typ
	switch t {
	case typeTime:
		s.traits |= timed
		return nil
	case typeBigInt:
		return nil
	case typeBigFloat:
		return refuse("big.Float cannot travel because its text form loses precision: " +
			"send the result of its Text method, or a struct of its parts")
	case typeTag:
		s.flat = true
		s.traits |= foreign
		return b.fillStruct(s)
	}
	method, r := selfCoding(t)
	if r != nil || method != "" {
		if method == marshalCBOR {
			s.traits |= foreign
		}
		return r
	}

	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return nil
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return refuse(t.String() + " cannot travel because it is an interface with methods: " +
				"the far side could not know which type to make; use a concrete type or any")
		}
		s.traits |= dynamic
		return nil
	case reflect.Pointer:
		return b.fillPointer(s)
	case reflect.Slice, reflect.Array:
		return b.fillList(s)
	case reflect.Map:
		return b.fillMap(s)
	case reflect.Struct:
		return b.fillStruct(s)
	}
	return refuse(t.String() + " cannot travel")
}

func (b *builder) fillPointer(s *shape) (r *refusal) {
	// The library follows pointer types to their end, which type P *P does not have.
	const most = 64
	t := s.typ
	for range most {
		if t.Kind() != reflect.Pointer {
			s.elem, r = b.shape(s.typ.Elem())
			return r
		}
		t = t.Elem()
	}
	return refuse(s.typ.String() + " cannot travel because it points to pointers only")
}

func (b *builder) fillList(s *shape) (r *refusal) {
	if s.typ.Elem().Kind() == reflect.Uint8 {
		return nil // A byte string, whatever methods its elements have.
	}
	if s.elem, r = b.shape(s.typ.Elem()); r != nil {
		return r.at("[]")
	}
	return nil
}

func (b *builder) fillMap(s *shape) (r *refusal) {
	key := s.typ.Key()
	if r = checkKey(key); r != nil {
		return r.at("[key]")
	}
	if s.key, r = b.shape(key); r != nil {
		return r.at("[key]")
	}
	if s.elem, r = b.shape(s.typ.Elem()); r != nil {
		return r.at("[]")
	}
	if key.Kind() != reflect.Interface && !isScalar(key) {
		s.traits |= compositeKeys
	}
	return nil
}

func (b *builder) fillStruct(s *shape) *refusal {
	if r := checkFieldNames(s.typ); r != nil {
		return r
	}
	for i := range s.typ.NumField() {
		f := s.typ.Field(i)
		w, r := wireFieldOf(f)
		if r != nil {
			return r.at("." + f.Name)
		}
		if w.skipped() {
			continue
		}
		part, r := b.shape(f.Type)
		if r != nil {
			return r.at("." + f.Name)
		}
		s.fields = append(s.fields, field{i, f.Name, w.embedded, part})
	}
	return nil
}

// checkKey refuses types of keys that do not come back as the same keys.
func checkKey(t reflect.Type) *refusal {
	if t.Kind() == reflect.Interface {
		return nil // Each key is checked when it is encoded.
	}
	return checkKeyPart(t)
}

func checkKeyPart(t reflect.Type) *refusal {
	if t == typeTime || isScalar(t) || codesItself(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Array:
		if r := checkKeyPart(t.Elem()); r != nil {
			return r.at("[]")
		}
		return nil
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			w, r := wireFieldOf(f)
			if r == nil && w.skipped() {
				r = refuse("a map's key cannot have a field that does not travel")
			}
			if r == nil {
				r = checkKeyPart(f.Type)
			}
			if r != nil {
				return r.at("." + f.Name)
			}
		}
		return nil
	}
	return refuse(t.String() + " cannot travel in a map's key because it does not come back equal")
}

// isScalar reports whether a key of type t remains a key of its sort even when the map is decoded into an any.
// A time.Time does not: the library makes it a string if it can.
func isScalar(t reflect.Type) bool {
	if t == typeTime {
		return false
	}
	if method, r := selfCoding(t); r != nil || method != "" {
		return method == marshalBinary || method == marshalText
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	case reflect.Array:
		return t.Elem().Kind() == reflect.Uint8
	}
	return false
}
