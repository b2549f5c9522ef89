package member

import "reflect"

// A field is one of a struct's fields, its own or promoted, and how to reach it.
type field struct {
	name     string
	text     string // "Total int"
	index    []int  // as reflect.StructField has it
	typ      reflect.Type
	exported bool
	refusal  *refusal // why values cannot be decoded into it; nil if they can
}

func newField(from reflect.StructField) *field {
	f := &field{
		name: from.Name, text: from.Name + " " + typeText(from.Type),
		index: from.Index, typ: from.Type, exported: from.IsExported(),
	}
	if !f.exported {
		return f
	}
	if err := travels(f.typ); err != nil {
		f.refusal = &refusal{"cannot be reached remotely", err}
		if f.readable() {
			f.refusal.reason = "can be read, but not set"
		}
	}
	return f
}

// readable reports whether values of the field's type can be encoded. What is in an interface shows only when it is
// read.
func (f *field) readable() bool { return f.refusal == nil || f.typ.Kind() == reflect.Interface }

// offered reports whether something can be done with the field.
func (f *field) offered() bool { return f.exported && f.readable() }

// read returns what the field of obj holds.
func (t *Type) read(obj any, f *field) (Result, error) {
	if !f.readable() {
		return Result{}, t.refused(f.name, f.text, f.refusal)
	}
	v, err := t.reach(obj, f)
	if err != nil {
		return Result{}, err
	}
	result, err := encode(v)
	if err != nil {
		return Result{}, &Error{
			Type: t.name(), Member: f.name, Signature: f.text,
			Reason: "its value cannot travel", Err: err,
		}
	}
	return result, nil
}

// write replaces what the field of obj holds.
func (t *Type) write(obj any, f *field, value []byte) error {
	if f.refusal != nil {
		return t.refused(f.name, f.text, f.refusal)
	}
	v, err := t.reach(obj, f)
	if err != nil {
		return err
	}
	fresh, err := decode(value, f.typ)
	if err != nil {
		return t.refused(f.name, f.text, &refusal{"cannot be set to that", err})
	}
	v.Set(fresh)
	return nil
}

// reach returns the field of obj, which can be set.
func (t *Type) reach(obj any, f *field) (reflect.Value, error) {
	v, err := t.value(obj, f.name, f.text)
	if err != nil {
		return v, err
	}
	if v.IsNil() {
		return v, t.misuse(f.name, f.text, "the object is nil")
	}
	v = v.Elem()
	for i, index := range f.index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, t.misuse(f.name, f.text, "it is a field of the embedded "+typeText(v.Type())+", which is nil")
			}
			v = v.Elem()
		}
		v = v.Field(index)
	}
	return v, nil
}
