// Package member finds, calls, reads and writes the exported members of a Go type by name: what a worker does with
// an object when its user names a method or a field. Arguments, results and values are encoded by internal/codec.
//
// # What a type offers
//
// Of a type T it is what Go code with a *T in hand could select, as far as it can travel:
//
//   - the methods of *T, promoted ones included, whose parameters all travel and that return nothing, a value, an
//     error, or a value and an error. A first parameter of type context.Context is given the call's context and is
//     not counted as an argument;
//   - the exported fields of T, if it is a struct, promoted ones included, whose type travels. A field or a
//     result of an interface type is read as the value that it holds, by the codec's rules for an any; of
//     these, only fields of type any can be set.
//
// Of members by one name the least deeply embedded is meant, and none if there are several of those, as in Go.
//
// # Values
//
// An argument must be what the codec accepts for the parameter's type: an integer for a float64, but no number that
// overflows, and nil only for pointers, slices, maps, interfaces, time.Time, whose zero is encoded so, and types
// that have an UnmarshalCBOR method. The same holds for a field that is set.
//
// # Cost
//
// Types are looked at once, when a Type is first used. After that a call costs what reflection and the codec take,
// in proportion to the length of its arguments as the codec's documentation says; an argument of a variadic
// parameter costs one element of the parameter's type.
//
// The package selects methods by names that are known only at run time, which makes the linker keep all exported
// methods of a program. So nothing in it runs before Of is called, and a program that does not call it is linked
// without it.
package member

import (
	"context"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// Type gives access to the members of one Go type. Get one from Of; the zero value is not usable.
// A Type is immutable and safe for concurrent use. It does not order what is done with one object: calls, reads and
// writes race if the object's type does not see to that and the caller runs them at the same time.
type Type struct {
	typ   reflect.Type // *T
	table func() *table
}

// Of returns the Type of objects of type t, which must be a pointer: anything else is a mistake in the program, and
// Of panics. What t points to need not be a struct.
func Of(t reflect.Type) *Type {
	if t == nil || t.Kind() != reflect.Pointer {
		panic("member: Of(" + typeText(t) + "): objects are pointers")
	}
	return &Type{typ: t, table: sync.OnceValue(func() *table { return newTable(t) })}
}

// Result is what a method returned or a field holds, encoded.
type Result struct {
	Output []byte // the encoding of the value; nil if None
	Type   string // the full name of its type, as codec.TypeName has it, of an interface that of what it holds; empty if None
	None   bool   // the method returns no value
}

// Invoke calls a method of obj, a value of t's type, with one encoded value for each parameter, the context aside, and
// any number for a variadic one. It does not keep args.
//
// The error is what the method returned, unchanged, or an *Error that says why the method was not called or why its
// result cannot travel. To tell them apart look at the type of the error itself and not at what it wraps.
// A panic of the method, or of a marshal or unmarshal method of its arguments' and results' types, passes through.
func (t *Type) Invoke(ctx context.Context, obj any, method string, args [][]byte) (Result, error) {
	m, f, err := t.find(method)
	if err != nil {
		return Result{}, err
	}
	if f != nil {
		return Result{}, t.misuse(f.name, f.text, "is a field, not a method")
	}
	if m.refusal != nil {
		return Result{}, t.refused(m.name, m.text, m.refusal)
	}
	return t.call(ctx, obj, m, args)
}

// Get reads an exported field of obj, a value of t's type, or calls a method that returns a value and needs no
// arguments. Errors and panics are those of Invoke; the context is for the method.
func (t *Type) Get(ctx context.Context, obj any, member string) (Result, error) {
	m, f, err := t.find(member)
	switch {
	case err != nil:
		return Result{}, err
	case f != nil:
		return t.read(obj, f)
	case m.refusal != nil:
		return Result{}, t.refused(m.name, m.text, m.refusal)
	case !m.returnsValue:
		return Result{}, t.misuse(m.name, m.text, "returns no value that could be read; it has to be invoked")
	case m.required() > 0:
		return Result{}, t.misuse(m.name, m.text, m.wants()+", so it cannot be read; it has to be invoked")
	}
	return t.call(ctx, obj, m, nil)
}

// Set assigns an encoded value to an exported field of obj, a value of t's type. The field is either replaced as a
// whole or, on error, left as it is. The error is an *Error.
// A panic of an unmarshal method of the field's type passes through.
func (t *Type) Set(_ context.Context, obj any, member string, value []byte) error {
	m, f, err := t.find(member)
	if err != nil {
		return err
	}
	if m != nil {
		return t.misuse(m.name, m.text, "is a method, not a field")
	}
	return t.write(obj, f, value)
}

// Offers says what can be invoked, read and set, for errors: "methods Add(int) (int, error), Reset(); fields
// Name string, Total int". Both lists are sorted and, if long, cut with "and 9 more"; without any members it is
// "no members".
func (t *Type) Offers() string { return t.table().offers }

// name is T's as errors have it, without the asterisk of *T.
func (t *Type) name() string { return typeText(t.typ.Elem()) }

// find returns the method or the field of that name, offered or not, or an error if there is none or no other package
// could name it.
func (t *Type) find(name string) (*method, *field, error) {
	all := t.table()
	if m := all.methods[name]; m != nil {
		return m, nil, nil
	}
	f := all.fields[name]
	if f != nil && f.exported {
		return nil, f, nil
	}

	e := &Error{Type: t.name(), Member: excerpt(name), Offers: all.offers}
	switch likely := all.closest(name); {
	case f != nil:
		e.Signature, e.Reason = f.text, "is not exported"
		if likely != "" {
			e.Reason += ": did you mean " + likely + "?"
		}
	case ambiguous(t.typ.Elem(), name):
		e.Reason = "several embedded fields have one"
	case likely != "":
		e.Reason = "did you mean " + likely + "?"
	}
	return nil, nil, e
}

// value is obj for reflection, if it is one of t's objects.
func (t *Type) value(obj any, name, text string) (reflect.Value, error) {
	if got := reflect.TypeOf(obj); got != t.typ {
		return reflect.Value{}, &Error{
			Type: t.name(), Member: name, Signature: text,
			Reason: "the object is of type " + typeText(got) + ", not " + typeText(t.typ),
		}
	}
	return reflect.ValueOf(obj), nil
}

// misuse is the error for something that cannot be done with the member of that name and signature.
func (t *Type) misuse(name, text, reason string) error {
	return &Error{Type: t.name(), Member: name, Signature: text, Reason: reason, Offers: t.Offers()}
}

// refused is the error for a member that is not offered.
func (t *Type) refused(name, text string, r *refusal) error {
	return &Error{Type: t.name(), Member: name, Signature: text, Reason: r.reason, Offers: t.Offers(), Err: r.err}
}

// typeText is the type as errors name it.
func typeText(t reflect.Type) string {
	if t == nil {
		return "nil"
	}
	return strings.NewReplacer("interface {}", "any", "[]uint8", "[]byte").Replace(t.String())
}

// count is "no arguments", "1 argument" or "2 arguments".
func count(n int, thing string) string {
	switch n {
	case 0:
		return "no " + thing + "s"
	case 1:
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
