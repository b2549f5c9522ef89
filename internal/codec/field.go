package codec

import (
	"reflect"
	"strconv"
	"strings"
)

// A wireField is how the library treats a struct's field.
type wireField struct {
	name     string // on the wire
	hidden   bool   // it does not travel because Go does not export it
	dropped  bool   // it does not travel because its tag says so
	embedded bool   // its fields travel as fields of the struct around it
}

func (w wireField) skipped() bool { return w.hidden || w.dropped }

// wireFieldOf follows the library's rules, and refuses fields that those rules would lose in silence.
func wireFieldOf(f reflect.StructField) (wireField, *refusal) {
	inner := f.Type
	if inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
	}
	embeds := f.Anonymous && inner.Kind() == reflect.Struct
	if !f.IsExported() && !(embeds && hasExported(inner)) {
		return wireField{hidden: true}, nil
	}
	tag := f.Tag.Get("cbor")
	if tag == "-" {
		return wireField{dropped: true}, nil
	}
	if tag == "" {
		if tag = f.Tag.Get("json"); tag == "-" {
			return wireField{}, refuse(`its tag json:"-" would drop it in silence: ` +
				`write cbor:"-" to drop it or cbor:"` + f.Name + `" to send it`)
		}
	}
	name, options, _ := strings.Cut(tag, ",")
	w := wireField{name: name, embedded: embeds && name == ""}
	if name == "" {
		w.name = f.Name
	}
	if !f.IsExported() && (name != "" || f.Type.Kind() == reflect.Pointer) {
		return w, refuse("an unexported embedded struct travels only without a pointer and without a name: " +
			`export it, or write cbor:"-" to drop it`)
	}
	if method, _ := selfCoding(inner); w.embedded && (method != "" || inner == typeTime || inner == typeBigInt) {
		return w, refuse("an embedded type that marshals itself would travel as its fields: " +
			`write cbor:"` + f.Name + `" to send it under that name`)
	}
	for option := range strings.SplitSeq(options, ",") {
		if option == "keyasint" {
			n, err := strconv.Atoi(w.name)
			if err != nil {
				return w, refuse("its tag says keyasint, but " + strconv.Quote(w.name) + " is not an integer")
			}
			w.name = strconv.Itoa(n) + " as an integer"
		}
	}
	return w, nil
}

// hasExported reports whether a struct has an exported field, its own or of a struct embedded in it.
func hasExported(t reflect.Type) bool {
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() {
			return true
		}
	}
	return false
}

// checkFieldNames refuses a struct of which nothing would travel, or of which two fields share a name: then the
// library sends one or none of them.
func checkFieldNames(t reflect.Type) *refusal {
	n := names{paths: make(map[string]string)}
	if r := n.add(t, ""); r != nil {
		return r
	}
	if n.travel == 0 && n.hidden > 0 && n.dropped == 0 {
		return refuse(t.String() + " cannot travel because it has no exported fields and no methods to marshal itself")
	}
	return nil
}

// names collects what a struct and the structs embedded in it have on the wire.
type names struct {
	paths                   map[string]string // name → path of the field
	within                  []reflect.Type    // the structs embedded in each other that lead to the current one
	travel, hidden, dropped int
}

func (n *names) add(t reflect.Type, path string) *refusal {
	for _, outer := range n.within {
		if outer == t {
			return refuse(t.String() + " embeds itself, and the inner one would be dropped in silence: give it a name")
		}
	}
	n.within = append(n.within, t)
	defer func() { n.within = n.within[:len(n.within)-1] }()

	for i := range t.NumField() {
		f := t.Field(i)
		w, r := wireFieldOf(f)
		if r == nil {
			r = n.addField(f, w, path+f.Name)
		}
		if r != nil {
			return r.at("." + f.Name)
		}
	}
	return nil
}

func (n *names) addField(f reflect.StructField, w wireField, path string) *refusal {
	switch {
	case f.Name == "_": // Nothing can be stored in it.
	case w.hidden:
		n.hidden++
	case w.dropped:
		n.dropped++
	case w.embedded:
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		return n.add(inner, path+".")
	default:
		if other, ok := n.paths[w.name]; ok {
			return refuse("it has the same name on the wire as " + other + ", and would be lost in silence: " +
				"give it another one with a cbor tag")
		}
		n.paths[w.name] = path
		n.travel++
	}
	return nil
}
