package codec

import (
	"reflect"
	"strconv"
	"strings"
)

// TypeName returns the full name of t, with the import path in front of every name in it, such as
// "map[string]github.com/x/y.T". Two types have one name only if they are declared under the same identifier
// inside different functions of one package: reflection cannot tell those apart.
func TypeName(t reflect.Type) string {
	if t == nil {
		return "nil"
	}
	if t.Name() != "" {
		// The name of an instantiated generic type carries its arguments, in full.
		if t.PkgPath() == "" {
			return t.Name()
		}
		return t.PkgPath() + "." + t.Name()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + TypeName(t.Elem())
	case reflect.Slice:
		return "[]" + TypeName(t.Elem())
	case reflect.Array:
		return "[" + strconv.Itoa(t.Len()) + "]" + TypeName(t.Elem())
	case reflect.Map:
		return "map[" + TypeName(t.Key()) + "]" + TypeName(t.Elem())
	case reflect.Chan:
		// The parentheses keep chan (<-chan T) apart from chan<- (chan T).
		return t.ChanDir().String() + " (" + TypeName(t.Elem()) + ")"
	case reflect.Func:
		return "func" + signature(t)
	case reflect.Struct:
		return structName(t)
	}
	if t.Kind() == reflect.Interface && t.NumMethod() == 0 {
		return "any"
	}
	// What is left is an interface literal with methods. They cannot travel, and to list the methods by reflection
	// would make the linker keep every exported method of the program.
	return t.String()
}

func signature(t reflect.Type) string {
	var in, out []string
	for i := range t.NumIn() {
		in = append(in, TypeName(t.In(i)))
	}
	for i := range t.NumOut() {
		out = append(out, TypeName(t.Out(i)))
	}
	if t.IsVariadic() {
		last := len(in) - 1
		in[last] = "..." + strings.TrimPrefix(in[last], "[]")
	}
	return "(" + strings.Join(in, ", ") + ") (" + strings.Join(out, ", ") + ")"
}

func structName(t reflect.Type) string {
	var fields []string
	for i := range t.NumField() {
		f := t.Field(i)
		text := f.Name + " " + TypeName(f.Type)
		if f.Anonymous {
			text = "embed " + text
		}
		if f.PkgPath != "" {
			text = f.PkgPath + "." + text
		}
		if f.Tag != "" {
			text += " " + strconv.Quote(string(f.Tag))
		}
		fields = append(fields, text)
	}
	return "struct { " + strings.Join(fields, "; ") + " }"
}
