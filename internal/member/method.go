package member

import (
	"context"
	"reflect"
	"strconv"
	"strings"
)

// A method is one of a type's exported methods and how to call it.
type method struct {
	name         string
	text         string         // "Add(int) (int, error)"
	index        int            // in the type's method set
	takesContext bool           // as its first parameter
	params       []reflect.Type // after the context; of a variadic one the type of its elements
	variadic     bool
	returnsValue bool     // as its first result
	returnsError bool     // as its last result
	refusal      *refusal // why it is not offered; nil if it is
}

// A refusal says why a member is not offered.
type refusal struct {
	reason string
	err    error
}

// newMethod looks at a method of a type that is no interface: its first parameter is the receiver.
func newMethod(from reflect.Method) *method {
	m := &method{name: from.Name, index: from.Index, variadic: from.Type.IsVariadic()}
	for i := 1; i < from.Type.NumIn(); i++ {
		m.params = append(m.params, from.Type.In(i))
	}
	results := make([]reflect.Type, from.Type.NumOut())
	for i := range results {
		results[i] = from.Type.Out(i)
	}
	m.text = m.name + signatureText(m.params, m.variadic, results)

	if len(m.params) > 0 && m.params[0] == reflect.TypeFor[context.Context]() {
		m.takesContext = true
		m.params = m.params[1:]
	}
	if m.variadic {
		last := len(m.params) - 1
		m.params[last] = m.params[last].Elem()
	}
	if m.refusal = m.checkParams(); m.refusal == nil {
		m.refusal = m.checkResults(results)
	}
	return m
}

// checkParams refuses methods to which not all arguments can be sent.
func (m *method) checkParams() *refusal {
	for i, p := range m.params {
		at := "cannot be called remotely because of its parameter " + strconv.Itoa(i+1)
		if p == reflect.TypeFor[context.Context]() {
			return &refusal{reason: at + ": a context is given to a method only as the first parameter"}
		}
		if err := travels(p); err != nil {
			return &refusal{at, err}
		}
	}
	return nil
}

// checkResults refuses methods whose results are more than a value and an error. What is in an interface shows
// only when it is returned.
func (m *method) checkResults(results []reflect.Type) *refusal {
	if n := len(results); n > 0 && results[n-1] == reflect.TypeFor[error]() {
		m.returnsError = true
		results = results[:n-1]
	}
	switch {
	case len(results) == 0:
		return nil
	case len(results) > 1 || results[0] == reflect.TypeFor[error]():
		return &refusal{reason: "cannot be called remotely because of its results: " +
			"they may be nothing, a value, an error, or a value and an error"}
	}
	m.returnsValue = true
	if results[0].Kind() == reflect.Interface {
		return nil
	}
	if err := travels(results[0]); err != nil {
		return &refusal{"cannot be called remotely because of its result", err}
	}
	return nil
}

// required is the least number of arguments.
func (m *method) required() int {
	if m.variadic {
		return len(m.params) - 1
	}
	return len(m.params)
}

// wants says how many arguments the method takes.
func (m *method) wants() string {
	text := "takes " + count(m.required(), "argument")
	if m.variadic {
		text = "takes at least " + count(m.required(), "argument")
	}
	if m.takesContext {
		text += " besides the context"
	}
	return text
}

// param is the type of the argument at index i.
func (m *method) param(i int) reflect.Type { return m.params[min(i, len(m.params)-1)] }

// call calls a method that is offered.
func (t *Type) call(ctx context.Context, obj any, m *method, args [][]byte) (Result, error) {
	v, err := t.value(obj, m.name, m.text)
	if err != nil {
		return Result{}, err
	}
	in, err := t.arguments(ctx, m, args)
	if err != nil {
		return Result{}, err
	}
	out := v.Method(m.index).Call(in)
	if m.returnsError {
		if err, _ := out[len(out)-1].Interface().(error); err != nil {
			return Result{}, err
		}
	}
	if !m.returnsValue {
		return Result{None: true}, nil
	}
	result, err := encode(out[0])
	if err != nil {
		return Result{}, &Error{
			Type: t.name(), Member: m.name, Signature: m.text,
			Reason: "was called, but its result cannot travel", Err: err,
		}
	}
	return result, nil
}

// arguments decodes the arguments of a call and puts the context in front of them.
func (t *Type) arguments(ctx context.Context, m *method, args [][]byte) ([]reflect.Value, error) {
	if n := len(args); n < m.required() || n > len(m.params) && !m.variadic {
		return nil, t.misuse(m.name, m.text, m.wants()+", and was given "+strconv.Itoa(n))
	}
	in := make([]reflect.Value, 0, 1+len(args))
	if m.takesContext {
		// Through a pointer, because a nil context would not be a context for reflection.
		in = append(in, reflect.ValueOf(&ctx).Elem())
	}
	for i, data := range args {
		arg, err := decode(data, m.param(i))
		if err != nil {
			return nil, t.refused(m.name, m.text, &refusal{"argument " + strconv.Itoa(i+1), err})
		}
		in = append(in, arg)
	}
	return in, nil
}

// signatureText is what stands behind a method's name in Go: "(int, ...string) (int, error)".
func signatureText(params []reflect.Type, variadic bool, results []reflect.Type) string {
	in := typeTexts(params)
	if variadic {
		last := len(in) - 1
		in[last] = "..." + typeText(params[last].Elem())
	}
	out := typeTexts(results)
	text := "(" + strings.Join(in, ", ") + ")"
	switch len(out) {
	case 0:
		return text
	case 1:
		return text + " " + out[0]
	}
	return text + " (" + strings.Join(out, ", ") + ")"
}

func typeTexts(types []reflect.Type) []string {
	texts := make([]string, len(types))
	for i, t := range types {
		texts[i] = typeText(t)
	}
	return texts
}
