package afar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// Members of an object by name. What a type offers is the business of
// internal/member, which has tests of its own.

// shape is embedded by value, and scale by pointer.
type shape struct{ Sides int }

func (s shape) Corners() int             { return s.Sides }
func (s *shape) Grow(by int)             { s.Sides += by }
func (s shape) Label(text string) string { return fmt.Sprint(text, " with ", s.Sides, " sides") }

type Scale struct{ Factor float64 }

func (s *Scale) Double() float64 {
	s.Factor *= 2
	return s.Factor
}

// tag can travel, as a figure cannot.
type tag struct {
	Name string
	Tags []string
}

// figure has members of every sort.
type figure struct {
	shape
	*Scale
	Name    string
	Tags    []string
	When    time.Time
	Next    *tag
	Any     any
	Source  io.Reader // can neither be set nor read while it holds one
	Channel chan int
	hidden  int
}

func (f *figure) Plain() string                        { return f.Name }
func (f figure) ByValue() string                       { f.Name += "!"; return f.Name }
func (f *figure) WithContext(ctx context.Context) bool { return ctx != nil && ctx.Err() == nil }
func (f *figure) OnlyError() error                     { return fmt.Errorf("%s: %w", f.Name, os.ErrExist) }
func (f *figure) NoError() error                       { return nil }
func (f *figure) Nothing()                             { f.hidden++ }
func (f *figure) Count() int                           { return f.hidden }
func (f *figure) Mix(ctx context.Context, n int, s string, b []byte, m map[string]int, p *tag) (string, error) {
	return fmt.Sprintf("%d %s %x %v %v", n, s, b, m, p != nil && p.Name == "inner"), ctx.Err()
}
func (f *figure) Join(sep string, parts ...string) string { return strings.Join(parts, sep) }
func (f *figure) Sum(_ context.Context, n ...int) (sum int, _ error) {
	for _, n := range n {
		sum += n
	}
	return sum, nil
}
func (f *figure) Two() (int, int)   { return 1, 2 }
func (f *figure) Listen(c chan int) {}
func (f *figure) Twin() *tag        { return &tag{f.Name, f.Tags} }
func (f *figure) Wrong(int) int     { panic("wrong") }

var figures = afar.Class(newFigure)

func newFigure(_ context.Context, name string) (*figure, error) {
	return &figure{Name: name, shape: shape{3}, Scale: &Scale{1.5}, Source: os.Stdin}, nil
}

func TestInvoke(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		o := newObject(t, figures, open(t, scheme+":1"), "f")
		for _, x := range []struct {
			method string
			args   []any
			want   any
		}{
			{"Plain", nil, "f"},
			{"ByValue", nil, "f!"},
			{"Plain", nil, "f"}, // the receiver was a copy
			{"WithContext", nil, true},
			{"Corners", nil, int64(3)},
			{"Grow", []any{2}, nil},
			{"Corners", nil, int64(5)},
			{"Label", []any{"it"}, "it with 5 sides"},
			{"Double", nil, 3.0},
			{"Nothing", nil, nil},
			{"NoError", nil, nil},
			{"Count", nil, int64(1)},
			{"Mix", []any{7, "x", []byte{1}, map[string]int{"k": 1}, &tag{Name: "inner"}}, "7 x 01 map[k:1] true"},
			{"Mix", []any{uint8(7), "x", nil, nil, nil}, "7 x  map[] false"},
			{"Join", []any{"-"}, ""},
			{"Join", []any{"-", "a", "b", "c"}, "a-b-c"},
			{"Sum", nil, int64(0)},
			{"Sum", []any{1, int64(2), uint(3)}, int64(6)},
		} {
			got, err := afar.Invoke[any](ctx, o, x.method, x.args...)
			if err != nil || !reflect.DeepEqual(got, x.want) {
				t.Errorf("%s(%v): %#v, %v, want %#v", x.method, x.args, got, err, x.want)
			}
		}
		// The result as what it is, or as what it can be decoded into.
		if sum, err := afar.Invoke[int](ctx, o, "Sum", 1, 2); err != nil || sum != 3 {
			t.Errorf("%d, %v", sum, err)
		}
		if sum, err := afar.Invoke[float64](ctx, o, "Sum", 1, 2); err != nil || sum != 3 {
			t.Errorf("%v, %v", sum, err)
		}
		if twin, err := afar.Invoke[struct{ Name string }](ctx, o, "Twin"); err != nil || twin.Name != "f" {
			t.Errorf("%v, %v", twin, err)
		}
		if _, err := afar.Invoke[struct{}](ctx, o, "Nothing"); err != nil {
			t.Error(err)
		}
		_, err := afar.Invoke[struct{}](ctx, o, "OnlyError")
		var remote *afar.RemoteError
		if !errors.As(err, &remote) || !errors.Is(err, os.ErrExist) || !strings.HasSuffix(remote.Function, ".OnlyError") || remote.Panic {
			t.Errorf("%#v", err)
		}
		if _, err = afar.Invoke[int](ctx, o, "Wrong", 1); !errors.As(err, &remote) || !remote.Panic || remote.Message != "wrong" {
			t.Errorf("%#v", err)
		}
	})
}

func TestGetAndSet(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		o := newObject(t, figures, open(t, scheme+":1"), "f")
		if v, err := afar.Get[string](ctx, o, "Name"); err != nil || v != "f" {
			t.Errorf("a field: %q, %v", v, err)
		}
		if v, err := afar.Get[int](ctx, o, "Sides"); err != nil || v != 3 {
			t.Errorf("a promoted field: %d, %v", v, err)
		}
		if v, err := afar.Get[float64](ctx, o, "Factor"); err != nil || v != 1.5 {
			t.Errorf("a field behind a pointer: %v, %v", v, err)
		}
		if v, err := afar.Get[int](ctx, o, "Corners"); err != nil || v != 3 {
			t.Errorf("a computed member: %d, %v", v, err)
		}
		if v, err := afar.Get[bool](ctx, o, "WithContext"); err != nil || !v {
			t.Errorf("a computed member with a context: %v, %v", v, err)
		}
		if v, err := afar.Get[int](ctx, o, "Sum"); err != nil || v != 0 {
			t.Errorf("a variadic method: %d, %v", v, err)
		}
		if v, err := afar.Get[*tag](ctx, o, "Next"); err != nil || v != nil {
			t.Errorf("a nil pointer: %v, %v", v, err)
		}
		now := time.Now().Round(0)
		for what, err := range map[string]error{
			"Name": afar.Set(ctx, o, "Name", "g"), "Sides": afar.Set(ctx, o, "Sides", 4), "Factor": afar.Set(ctx, o, "Factor", 2),
			"Tags": afar.Set(ctx, o, "Tags", []string{"a", "b"}), "When": afar.Set(ctx, o, "When", now),
			"Next": afar.Set(ctx, o, "Next", &tag{Name: "next"}), "Any": afar.Set[any](ctx, o, "Any", []any{"x", 1}),
		} {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if v, err := afar.Get[[]string](ctx, o, "Tags"); err != nil || !reflect.DeepEqual(v, []string{"a", "b"}) {
			t.Errorf("%q, %v", v, err)
		}
		if v, err := afar.Get[time.Time](ctx, o, "When"); err != nil || !v.Equal(now) {
			t.Errorf("%v, %v", v, err)
		}
		if v, err := afar.Get[*tag](ctx, o, "Next"); err != nil || v == nil || v.Name != "next" {
			t.Errorf("%v, %v", v, err)
		}
		if v, err := afar.Get[any](ctx, o, "Any"); err != nil || !reflect.DeepEqual(v, []any{"x", int64(1)}) {
			t.Errorf("%v, %v", v, err)
		}
		if v, err := afar.Invoke[string](ctx, o, "Label", "now"); err != nil || v != "now with 4 sides" {
			t.Errorf("%q, %v", v, err)
		}
	})
}

// What cannot be done says why, and what the type offers; nothing is changed.
func TestMembersThatAreNotThere(t *testing.T) {
	const offers = "It offers methods "
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		o := newObject(t, figures, open(t, scheme+":1?id=w"), "f")
		get := func(name string) error { _, err := afar.Get[int](ctx, o, name); return err }
		set := func(name string, v any) error { return afar.Set(ctx, o, name, v) }
		invoke := func(name string, args ...any) error { _, err := afar.Invoke[any](ctx, o, name, args...); return err }
		for _, x := range []struct {
			what    string
			err     error
			unknown bool
			parts   []string
		}{
			{"no such field", get("Nmae"), true, []string{`no member "Nmae"`, "did you mean Name?", offers}},
			{"no such method", invoke("Corner"), true, []string{`no member "Corner"`, "did you mean Corners?", offers, "Corners() int"}},
			{"nothing like it", invoke("Xylophone"), true, []string{offers}},
			{"set of no field", set("Nam", "x"), true, []string{"did you mean Name?", offers}},
			{"unexported", get("hidden"), false, []string{"hidden int", "is not exported"}},
			{"unexported method", invoke("close"), true, []string{offers}},
			{"too few", invoke("Label"), false, []string{"Label(string) string", "takes 1 argument", "given 0", "offers"}},
			{"too many", invoke("Corners", 1), false, []string{"takes no arguments", "given 1"}},
			{"too few besides the context", invoke("Mix", 1), false, []string{"takes 5 arguments besides the context"}},
			{"too few for variadic", invoke("Join"), false, []string{"takes at least 1 argument"}},
			{"wrong type", invoke("Label", 5), false, []string{"Label(string) string", "argument 1", "string"}},
			{"wrong type of variadic", invoke("Sum", 1, "x"), false, []string{"argument 2"}},
			{"overflow", invoke("Grow", uint64(1<<63)), false, []string{"argument 1"}},
			{"nil for a number", invoke("Grow", nil), false, []string{"nil is no value of type int"}},
			{"field called", invoke("Name"), false, []string{"is a field, not a method"}},
			{"method set", set("Corners", 1), false, []string{"is a method, not a field"}},
			{"method that wants arguments", get("Label"), false, []string{"has to be invoked"}},
			{"method without a value", get("Nothing"), false, []string{"returns no value"}},
			{"two results", invoke("Two"), false, []string{"Two() (int, int)", "results"}},
			{"channel parameter", invoke("Listen", 1), false, []string{"Listen(chan int)", "cannot be called remotely"}},
			{"channel field", get("Channel"), false, []string{"Channel chan int", "cannot be reached remotely"}},
			{"interface field", set("Source", 1), false, []string{"can be read, but not set"}},
			{"wrong value", set("Name", 5), false, []string{"cannot be set to that"}},
			{"nil value", set("Name", nil), false, []string{"nil is no value of type string"}},
		} {
			var remote *afar.RemoteError
			if x.err == nil || errors.Is(x.err, afar.ErrUnknownFunction) != x.unknown || !errors.As(x.err, &remote) || remote.Worker != "w" || remote.Panic {
				t.Errorf("%s: %v", x.what, x.err)
				continue
			}
			for _, part := range x.parts {
				if !strings.Contains(x.err.Error(), part) {
					t.Errorf("%s: %v: nothing of %q", x.what, x.err, part)
				}
			}
		}
		if name, err := afar.Get[string](ctx, o, "Name"); err != nil || name != "f" {
			t.Errorf("%q, %v: it has changed", name, err)
		}
	})
}

// What is wrong here, in the caller, is found here.
func TestMembersWrongHere(t *testing.T) {
	ctx := within(t)
	o := newObject(t, figures, open(t, "inproc:1"), "f")
	for what, x := range map[string]struct {
		err  error
		want string
	}{
		"result of another type": {second(afar.Get[int](ctx, o, "Name")), "Name is a string"},
		"no result":              {second(afar.Invoke[int](ctx, o, "Nothing")), "returns no value, and int was asked for"},
		"no type that travels":   {second(afar.Get[chan int](ctx, o, "Name")), "chan int"},
		"value":                  {afar.Set(ctx, o, "Name", make(chan int)), "value of Name"},
		"argument":               {second(afar.Invoke[any](ctx, o, "Grow", 1, func() {})), "argument 2 of Grow"},
		"no object":              {second(afar.Get[int](ctx, nil, "Name")), "nil object"},
		"nil object":             {second(afar.Get[int](ctx, (*afar.Object[figure])(nil), "Name")), "nil object"},
	} {
		if x.err == nil || !strings.Contains(x.err.Error(), x.want) {
			t.Errorf("%s: %v", what, x.err)
		}
	}
	late, cancel := context.WithCancelCause(ctx)
	cancel(errors.New("too late"))
	if _, err := afar.Get[string](late, o, "Name"); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "too late") {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

// A method of one type is not one of another, and one that was registered after
// Main is not known to workers that are processes.
func TestMethodOfAnotherType(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:1")
	o := newObject(t, figures, pool, "f")
	if _, err := afar.Invoke[int](ctx, o, "Deposit", 1); !errors.Is(err, afar.ErrUnknownFunction) {
		t.Error(err)
	}
	late := afar.Method(lateMethod)
	if _, err := late.On(o)(ctx, 1); !errors.Is(err, afar.ErrUnknownFunction) || !strings.Contains(err.Error(), "lateMethod") {
		t.Error(err)
	}
	for what, wrong := range map[string]func(){
		"Class(nil)":      func() { afar.Class[figure, int](nil) },
		"Method(nil)":     func() { afar.Method[figure, int, int](nil) },
		"method of value": func() { afar.Method(func(*figure, context.Context, int) (int, error) { return 0, nil }) },
		"argument":        func() { afar.Class(classOfChannel) },
	} {
		if text := message(wrong); text == "" {
			t.Errorf("%s does not panic", what)
		}
	}
}

func lateMethod(_ *figure, _ context.Context, n int) (int, error) { return n, nil }

func classOfChannel(context.Context, chan int) (*figure, error) { return nil, nil }
