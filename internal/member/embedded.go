package member

import (
	"go/token"
	"iter"
	"reflect"
)

// reflect finds promoted fields by Go's rules, but looks at fields alone. In Go a method of an embedded type hides
// fields of its name that are deeper, and makes those at its own depth ambiguous. The functions here see to that, and
// tell names that are ambiguous from names that do not exist.

// embeddings yields the types embedded in t, each once, with the depth of their members: 1 for those of fields of t.
func embeddings(t reflect.Type) iter.Seq2[int, reflect.Type] {
	return func(yield func(int, reflect.Type) bool) {
		seen := map[reflect.Type]bool{t: true}
		level := []reflect.Type{t}
		for depth := 1; len(level) > 0; depth++ {
			var next []reflect.Type
			for _, outer := range level {
				for _, inner := range embedded(outer) {
					if seen[inner] {
						continue
					}
					seen[inner] = true
					if !yield(depth, inner) {
						return
					}
					next = append(next, inner)
				}
			}
			level = next
		}
	}
}

// embedded returns the types of the embedded fields of t, without their pointers.
func embedded(t reflect.Type) []reflect.Type {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var types []reflect.Type
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.Anonymous {
			continue
		}
		if f.Type.Kind() == reflect.Pointer {
			f.Type = f.Type.Elem()
		}
		types = append(types, f.Type)
	}
	return types
}

// hidden reports whether a method of a type embedded in t keeps Go from selecting the field of that name that is
// promoted from the depth. Methods of t itself are not looked at.
func hidden(t reflect.Type, name string, depth int) bool {
	for d, inner := range embeddings(t) {
		if d > depth {
			return false
		}
		if declares(inner, name) {
			return true
		}
	}
	return false
}

// ambiguous reports whether a name that t does not have is the name of several of its promoted members.
func ambiguous(t reflect.Type, name string) bool {
	if !token.IsExported(name) {
		return false
	}
	for _, inner := range embeddings(t) {
		if hasMethod(inner, name) {
			return true
		}
		if inner.Kind() != reflect.Struct {
			continue
		}
		for i := range inner.NumField() {
			if inner.Field(i).Name == name {
				return true
			}
		}
	}
	return false
}

// declares reports whether t has the method of itself and not from a type embedded in it. A method that is in both
// places counts as the inner one's, because reflection cannot tell.
func declares(t reflect.Type, name string) bool {
	if !hasMethod(t, name) {
		return false
	}
	for _, inner := range embedded(t) {
		if hasMethod(inner, name) {
			return false
		}
	}
	return true
}

// hasMethod reports whether a variable of type t has the method.
func hasMethod(t reflect.Type, name string) bool {
	if t.Kind() != reflect.Interface {
		t = reflect.PointerTo(t)
	}
	_, ok := t.MethodByName(name)
	return ok
}
