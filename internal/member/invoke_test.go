package member_test

import (
	"context"
	"errors"
	"math/big"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar/internal/codec"
	"github.com/afar-go/afar/internal/member"
)

func TestInvoke(t *testing.T) {
	r := &rich{Name: "n", Lower: &Lower{Level: 5}, MyInt: -1}
	var nilPoint *point
	for _, x := range []struct {
		method string
		args   []any
		want   any
	}{
		{"Add", []any{3}, 3},
		{"Add", []any{int8(-1)}, 2},
		{"Value", nil, 2},
		{"Both", nil, "n"},
		{"Check", nil, none{}},
		{"Reset", nil, none{}},
		{"Value", nil, 0},
		{"Join", []any{"-"}, ""},
		{"Join", []any{"-", "a"}, "a"},
		{"Join", []any{"-", "a", "b", "c"}, "a-b-c"},
		{"Sum", nil, 0},
		{"Sum", []any{1, 127, -3}, 125},
		{"Move", []any{point{1, 2}, point{10, 20}}, &point{11, 22}},
		{"Move", []any{nil, point{10, 20}}, nilPoint},
		{"Half", []any{3}, 1.5},
		{"Half", []any{float32(0.5)}, 0.25},
		{"Narrow", []any{uint64(127)}, int8(127)},
		{"Odd2", []any{odd(0)}, -1},
		{"Odd2", []any{odd(4)}, 4},
		{"When", []any{time.Time{}}, true},
		{"When", []any{time.Unix(1, 0)}, false},
		{"Keep", []any{nil}, none{}},
		{"Show", []any{nil}, "<nil> <nil>"},
		{"Show", []any{int8(1)}, "int64 1"},
		{"Echo", []any{"x"}, "x"},
		{"Echo", []any{nil}, nil},
		{"Thing", []any{"point"}, point{1, 2}},
		{"Thing", []any{"nil"}, nil},
		{"Named", []any{"big"}, big.NewInt(9)},
		{"Named", []any{"int"}, nil},

		// promoted
		{"Doubled", nil, 0},
		{"Raise", []any{4}, none{}},
		{"Doubled", nil, 8},
		{"Sink", nil, 4},
		{"Sign", nil, "-"},
		{"Shadowed", nil, "outer"},
	} {
		invoke(t, r, x.want, x.method, x.args...)
	}
}

func TestInvokeContext(t *testing.T) {
	r, typ := &rich{}, of[rich]()
	ctx := context.WithValue(t.Context(), key{}, "given")
	got, err := typ.Invoke(ctx, r, "Ask", nil)
	compare(t, "Ask", got, err, "given")
	got, err = typ.Get(ctx, r, "Ask")
	compare(t, "Ask", got, err, "given")

	var nothing context.Context
	got, err = typ.Invoke(nothing, r, "NoContext", nil)
	compare(t, "NoContext", got, err, true)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = typ.Invoke(ctx, r, "Move", encoded(t, nil, point{})); err != context.Canceled {
		t.Errorf("the method's context error came as %v", err)
	}
}

func TestInvokeOtherKinds(t *testing.T) {
	l := &list{}
	invoke(t, l, 1, "Push", "a")
	invoke(t, l, 2, "Push", "b")
	if !reflect.DeepEqual(*l, list{"a", "b"}) {
		t.Error(*l)
	}
	m := &table{}
	invoke(t, m, none{}, "Put", "k", 1)
	invoke(t, m, true, "Has", "k")
	v := new(level)
	invoke(t, v, level(1), "Up")
	invoke(t, v, level(2), "Next")
	get(t, v, level(2), "Next")
	invoke(t, v, level(6), "Plus", 5)
	b := &box[point]{Value: point{1, 1}}
	invoke(t, b, 1, "Put", point{2, 3})
	invoke(t, b, []point{{2, 3}}, "All")
	get(t, b, []point{{2, 3}}, "Items")
	invoke(t, b, []point{{1, 1}, {4, 4}}, "Pair", box[point]{Value: point{4, 4}})
	if got := of[box[int]]().Offers(); got != "methods All() []int, Pair(member_test.box[int]) []int, Put(int) int; fields Items []int, Value int" {
		t.Error(got)
	}
	anonymous := &struct {
		A int
		*Lower
	}{1, &Lower{Level: 3}}
	invoke(t, anonymous, 2, "Sink")
	get(t, anonymous, 1, "A")
	get(t, anonymous, 2, "Level")
}

// A nil pointer has methods in Go too.
func TestInvokeNilObject(t *testing.T) {
	var r *rich
	invoke(t, r, 1.5, "Half", 3)
	_, err := of[rich]().Get(t.Context(), r, "Total")
	refused(t, err, "Total", "the object is nil")
}

func TestMethodErrors(t *testing.T) {
	r, typ := &rich{}, of[rich]()
	for name, want := range map[string]error{"Check": errEmpty, "Both": errEmpty, "Add": errOwn} {
		var args [][]byte
		if name == "Add" {
			args = encoded(t, 0)
		}
		got, err := typ.Invoke(t.Context(), r, name, args)
		if err != want || !reflect.DeepEqual(got, member.Result{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := typ.Get(t.Context(), r, "Both"); err != errEmpty {
		t.Error(err)
	}
}

var invokeErrors = []struct {
	method string
	args   []any
	parts  []string
}{
	{"Add", nil, []string{"rich.Add(int) (int, error): takes 1 argument, and was given 0"}},
	{"Add", []any{1, 2}, []string{"takes 1 argument, and was given 2"}},
	{"Reset", []any{1}, []string{"rich.Reset(): takes no arguments, and was given 1"}},
	{"Join", nil, []string{"rich.Join(string, ...string) string: takes at least 1 argument, and was given 0"}},
	{"Ask", []any{1}, []string{"rich.Ask(context.Context) any: takes no arguments besides the context, and was given 1"}},
	{"Move", []any{1}, []string{"takes 2 arguments besides the context, and was given 1"}},
	{"Move", []any{1, 2}, []string{"argument 1: codec: member_test.point"}},
	{"Move", []any{nil, 2}, []string{"argument 2: codec: member_test.point"}},
	{"Join", []any{",", "a", 1}, []string{"argument 3: codec: string"}},
	{"Add", []any{"x"}, []string{"argument 1: codec: int"}},
	{"Add", []any{nil}, []string{"argument 1: nil is no value of type int"}},
	{"Move", []any{nil, nil}, []string{"argument 2: nil is no value of type member_test.point"}},
	{"Narrow", []any{128}, []string{"argument 1: codec: int8", "128"}},
	{"Narrow", []any{1.5}, []string{"argument 1: codec: int8"}},
	{"Add", []any{uint64(1 << 63)}, []string{"argument 1: codec: int"}},

	{"Pair", nil, []string{"rich.Pair() (int, string): cannot be called remotely because of its results", "a value and an error"}},
	{"Triple", nil, []string{"rich.Triple() (int, int, error): cannot be called remotely because of its results"}},
	{"Errors", nil, []string{"rich.Errors() (error, error): cannot be called remotely because of its results"}},
	{"Own", nil, []string{"rich.Own() (int, *member_test.customError): cannot be called remotely because of its results"}},
	{"Watch", nil, []string{"rich.Watch(chan int): cannot be called remotely because of its parameter 1: codec: chan int cannot travel"}},
	{"Call", nil, []string{"rich.Call(int, func(int) int): ", "its parameter 2: codec: func(int) int cannot travel"}},
	{"Stream", nil, []string{"rich.Stream() <-chan int: ", "its result: codec: <-chan int cannot travel"}},
	{"Read", nil, []string{"its parameter 1: codec: io.Reader cannot travel because it is an interface with methods"}},
	{"Late", nil, []string{"its parameter 2: a context is given to a method only as the first parameter"}},
	{"Contexts", nil, []string{"rich.Contexts(...context.Context): ", "its parameter 1: "}},

	{"Total", nil, []string{"rich.Total int: is a field, not a method"}},
	{"Func", nil, []string{"rich.Func func(): is a field, not a method"}},

	{"Thing", []any{"chan"}, []string{"rich.Thing(string) any: was called, but its result cannot travel: codec: any: chan int cannot travel"}},
	{"Thing", []any{"cycle"}, []string{"its result cannot travel", "cyclic value"}},
	{"Thing", []any{"deep"}, []string{"its result cannot travel", "nested deeper"}},
	{"Thing", []any{"keyed"}, []string{"its result cannot travel", "cannot be decoded into an any"}},
	{"Named", []any{"nothing"}, []string{"rich.Named(string) fmt.Stringer: was called, but its result cannot travel: ", "nobody cannot travel because it has no exported fields"}},
}

func TestInvokeErrors(t *testing.T) {
	r, typ := &rich{}, of[rich]()
	for _, x := range invokeErrors {
		got, err := typ.Invoke(t.Context(), r, x.method, encoded(t, x.args...))
		refused(t, err, x.method, x.parts...)
		if called := strings.Contains(x.parts[0], "its result cannot travel"); called == strings.Contains(err.Error(), typ.Offers()) {
			t.Errorf("%s: what the type offers belongs into the errors of calls that were not made: %v", x.method, err)
		}
		if !reflect.DeepEqual(got, member.Result{}) {
			t.Errorf("%s: %+v with an error", x.method, got)
		}
	}

	// A struct of its own, because rich cannot travel.
	_, err := of[chain]().Invoke(t.Context(), &chain{}, "Loop", nil)
	refused(t, err, "Loop", "chain.Loop() *member_test.chain: was called, but its result cannot travel", "Next", "cyclic value")
	var cause *codec.Error
	if !errors.As(err, &cause) {
		t.Error("the codec's error is not wrapped")
	}
}

type chain struct{ Next *chain }

func (c *chain) Loop() *chain { l := &chain{}; l.Next = l; return l }

func TestWrongObject(t *testing.T) {
	for _, obj := range []any{nil, rich{}, &point{}, (**rich)(nil)} {
		_, err := of[rich]().Invoke(t.Context(), obj, "Value", nil)
		refused(t, err, "Value", "the object is of type", "not *member_test.rich")
		_, err = of[rich]().Get(t.Context(), obj, "Total")
		refused(t, err, "Total", "the object is of type")
		err = of[rich]().Set(t.Context(), obj, "Total", encoded(t, 1)[0])
		refused(t, err, "Total", "the object is of type")
	}
}

func TestOfPanics(t *testing.T) {
	for _, typ := range []reflect.Type{nil, reflect.TypeFor[rich](), reflect.TypeFor[error]()} {
		func() {
			defer func() {
				if text, ok := recover().(string); !ok || !strings.Contains(text, "objects are pointers") {
					t.Errorf("Of(%v): %q", typ, text)
				}
			}()
			member.Of(typ)
		}()
	}
}

func TestPanicsPassThrough(t *testing.T) {
	typ := of[rich]()
	recovered := func(call func()) (v any) {
		defer func() { v = recover() }()
		call()
		return nil
	}
	v := recovered(func() { typ.Invoke(t.Context(), &rich{}, "Panic", encoded(t, "boom")) })
	if v != (panicked{"boom"}) {
		t.Errorf("the panic came as %T %v", v, v)
	}
	for name, call := range map[string]func(){
		"Invoke":              func() { typ.Invoke(t.Context(), &rich{}, "Crash", nil) },
		"Get":                 func() { typ.Get(t.Context(), &rich{}, "Crash") },
		"a promoted method":   func() { typ.Invoke(t.Context(), &rich{}, "Sink", nil) },
		"a nil value":         func() { typ.Invoke(t.Context(), (*rich)(nil), "Value", nil) },
		"an embedded nothing": func() { typ.Invoke(t.Context(), &rich{}, "String", nil) },
	} {
		if _, ok := recovered(call).(runtime.Error); !ok {
			t.Errorf("%s: %v", name, recovered(call))
		}
	}
}

func TestArgumentsAreNotKept(t *testing.T) {
	r := &rich{}
	args := encoded(t, []byte("data"))
	if _, err := of[rich]().Invoke(t.Context(), r, "Keep", args); err != nil {
		t.Fatal(err)
	}
	clear(args[0])
	if string(r.Data) != "data" {
		t.Errorf("the object's bytes became %q", r.Data)
	}
}

func TestConcurrentUse(t *testing.T) {
	typ := of[rich]()
	r := &rich{Total: 3, stepped: make(chan int, 100)}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			got, err := typ.Invoke(t.Context(), r, "Join", encoded(t, "-", "a", "b"))
			compare(t, "Join", got, err, "a-b")
			got, err = typ.Get(t.Context(), r, "Total")
			compare(t, "Total", got, err, 3)
			if _, err := typ.Invoke(t.Context(), r, "Step", nil); err != nil {
				t.Error(err)
			}
			own := &rich{}
			if err := typ.Set(t.Context(), own, "Total", encoded(t, 4)[0]); err != nil || own.Total != 4 {
				t.Error(err)
			}
			_, err = typ.Invoke(t.Context(), r, "totl", nil)
			refused(t, err, "totl", typ.Offers())
		})
	}
	wg.Wait()
	if n := len(r.stepped); n != 20 {
		t.Errorf("%d calls arrived", n)
	}
}
