package member_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar/internal/codec"
	"github.com/afar-go/afar/internal/member"
)

var (
	errEmpty = errors.New("empty")
	errOwn   = errors.New("the method's own")
)

type key struct{}

// rich has a member of every sort that is offered, and of every sort that is not.
type rich struct {
	Total  int
	Small  int8
	Ratio  float64
	Name   string
	Data   []byte
	Tags   []string
	Index  map[string]int
	Keyed  map[point]int
	Any    any
	Err    error
	Reader io.Reader
	Next   *rich
	Point  point
	Time   time.Time
	Big    big.Int
	Rat    *big.Rat
	Odd    odd
	Array  [2]int
	Chan   chan int
	Func   func()
	Nested struct{ Deep []chan int }
	total  int
	base
	*Lower
	MyInt
	fmt.Stringer

	stepped chan int
}

// What is not exported, neither Get nor Set touches.
var (
	_ = (*rich).unexported
	_ = rich{total: 1, base: base{hidden: 2}}
)

type point struct{ X, Y int }

// odd encodes itself as null when it is zero.
type odd int

func (o odd) MarshalCBOR() ([]byte, error) {
	if o == 0 {
		return []byte{0xf6}, nil
	}
	return codec.Marshal(int(o))
}

func (o *odd) UnmarshalCBOR(data []byte) error {
	*o = -1
	if data[0] == 0xf6 {
		return nil
	}
	return codec.Unmarshal(data, (*int)(o))
}

type base struct {
	Inherited int
	Name      string // shadowed
	hidden    int
}

func (b base) Doubled() int      { return 2 * b.Inherited }
func (b *base) Raise(by int)     { b.Inherited += by }
func (b *base) Shadowed() string { return "inner" }

type Lower struct{ Level int }

func (l *Lower) Sink() int { l.Level--; return l.Level }

type MyInt int

func (m MyInt) Sign() string { return map[bool]string{true: "-", false: "+"}[m < 0] }

func (r *rich) Add(n int) (int, error) {
	if n == 0 {
		return 7, errOwn
	}
	r.Total += n
	return r.Total, nil
}
func (r *rich) Reset()                              { r.Total = 0 }
func (r *rich) Check() error                        { return map[bool]error{true: errEmpty}[r.Total == 0] }
func (r rich) Value() int                           { return r.Total }
func (r rich) Both() (string, error)                { return r.Name, r.Check() }
func (r *rich) Ask(ctx context.Context) any         { return ctx.Value(key{}) }
func (r *rich) NoContext(ctx context.Context) bool  { return ctx == nil }
func (r *rich) Join(sep string, s ...string) string { return strings.Join(s, sep) }
func (r *rich) Sum(ctx context.Context, n ...int8) (sum int) {
	for _, x := range n {
		sum += int(x)
	}
	return sum
}
func (r *rich) Move(ctx context.Context, p *point, by point) (*point, error) {
	if p == nil {
		return nil, ctx.Err()
	}
	return &point{p.X + by.X, p.Y + by.Y}, ctx.Err()
}
func (r *rich) Half(f float64) float64         { return f / 2 }
func (r *rich) Narrow(n int8) int8             { return n }
func (r *rich) Odd2(o odd) int                 { return int(o) }
func (r *rich) Keep(b []byte)                  { r.Data = b }
func (r *rich) Echo(v any) any                 { return v }
func (r *rich) Show(v any) string              { return fmt.Sprintf("%T %v", v, v) }
func (r *rich) When(t time.Time) bool          { return t.IsZero() }
func (r *rich) Thing(kind string) any          { return things[kind]() }
func (r *rich) Named(kind string) fmt.Stringer { s, _ := things[kind]().(fmt.Stringer); return s }
func (r *rich) Loop() *rich                    { l := &rich{}; l.Next = l; return l }
func (r *rich) Panic(v string)                 { panic(panicked{v}) }
func (r *rich) Crash() int                     { var p *point; return p.X }
func (r *rich) Shadowed() string               { return "outer" }
func (r *rich) Step()                          { r.stepped <- 1 }

// These are not offered.
func (r *rich) Pair() (int, string)                   { return 0, "" }
func (r *rich) Triple() (int, int, error)             { return 0, 0, nil }
func (r *rich) Errors() (error, error)                { return nil, nil }
func (r *rich) Watch(c chan int)                      {}
func (r *rich) Call(n int, f func(int) int)           {}
func (r *rich) Stream() <-chan int                    { return nil }
func (r *rich) Read(from io.Reader) error             { return nil }
func (r *rich) Late(n int, ctx context.Context) error { return nil }
func (r *rich) Contexts(ctx ...context.Context)       {}
func (r *rich) Own() (int, *customError)              { return 0, nil }
func (r *rich) unexported()                           {}

type customError struct{ Code int }

func (e *customError) Error() string { return fmt.Sprint("code ", e.Code) }

type panicked struct{ what string }

// things are values for an any.
var things = map[string]func() any{
	"nil":     func() any { return nil },
	"int":     func() any { return 5 },
	"point":   func() any { return point{1, 2} },
	"chan":    func() any { return make(chan int) },
	"keyed":   func() any { return map[point]int{{1, 2}: 3} },
	"big":     func() any { return big.NewInt(9) },
	"nothing": func() any { return nobody{secret: 1} },
	"cycle":   func() any { l := []any{nil}; l[0] = l; return l },
	"deep": func() any {
		var v any
		for range codec.MaxNestedLevels + 1 {
			v = []any{v}
		}
		return v
	},
}

type nobody struct{ secret int }

func (n nobody) String() string { return "nobody" }

// list, table and level are objects that are no structs.
type list []string

func (l *list) Push(s string) int { *l = append(*l, s); return len(*l) }

type table map[string]int

func (m table) Put(k string, v int) { m[k] = v }
func (m table) Has(k string) bool   { _, ok := m[k]; return ok }

type level int

func (l *level) Up() level         { *l++; return *l }
func (l level) Next() level        { return l + 1 }
func (l level) Plus(n level) level { return l + n }

// box is generic.
type box[T any] struct {
	Value T
	Items []T
}

func (b *box[T]) Put(v T) int      { b.Items = append(b.Items, v); return len(b.Items) }
func (b *box[T]) All() []T         { return b.Items }
func (b box[T]) Pair(o box[T]) []T { return []T{b.Value, o.Value} }

// of is member.Of for a type.
func of[T any]() *member.Type { return member.Of(reflect.TypeFor[*T]()) }

// encoded encodes arguments.
func encoded(t testing.TB, values ...any) [][]byte {
	t.Helper()
	var args [][]byte
	for _, v := range values {
		data, err := codec.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, data)
	}
	return args
}

// invoke calls a method that must succeed, and decodes what it returns into a value of want's type, to compare it. A
// want of none stands for no value.
func invoke(t *testing.T, obj any, want any, method string, args ...any) {
	t.Helper()
	got, err := member.Of(reflect.TypeOf(obj)).Invoke(t.Context(), obj, method, encoded(t, args...))
	compare(t, method, got, err, want)
}

func get(t *testing.T, obj any, want any, name string) {
	t.Helper()
	got, err := member.Of(reflect.TypeOf(obj)).Get(t.Context(), obj, name)
	compare(t, name, got, err, want)
}

type none struct{}

func compare(t *testing.T, what string, got member.Result, err error, want any) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if want == (none{}) {
		if !got.None || got.Output != nil || got.Type != "" {
			t.Errorf("%s: %+v, want no value", what, got)
		}
		return
	}
	if got.None || got.Type != codec.TypeName(reflect.TypeOf(want)) {
		t.Errorf("%s: None is %v, the type is %s, want that of %T", what, got.None, got.Type, want)
	}
	if want == nil {
		if string(got.Output) != "\xf6" {
			t.Errorf("%s: %x, want null", what, got.Output)
		}
		return
	}
	v := reflect.New(reflect.TypeOf(want))
	if err := codec.Unmarshal(got.Output, v.Interface()); err != nil {
		t.Errorf("%s: %v", what, err)
	} else if !reflect.DeepEqual(v.Elem().Interface(), want) {
		t.Errorf("%s: %v, want %v", what, v.Elem(), want)
	}
}

// set sets a field, which must succeed.
func set(t *testing.T, obj any, name string, v any) {
	t.Helper()
	if err := member.Of(reflect.TypeOf(obj)).Set(t.Context(), obj, name, encoded(t, v)[0]); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// refused checks that err is of this package, about the member, and that its text has all the parts.
func refused(t *testing.T, err error, name string, parts ...string) {
	t.Helper()
	own, ok := err.(*member.Error)
	if !ok {
		t.Errorf("%s: %T %v, want an error of this package", name, err, err)
		return
	}
	if own.Member != name {
		t.Errorf("%s: the error is about %q", name, own.Member)
	}
	for _, part := range append(parts, own.Type, own.Signature) {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: the error is\n\t%v\nand says nothing of\n\t%s", name, err, part)
		}
	}
}
