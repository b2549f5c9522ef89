package member_test

import (
	"reflect"
	"testing"

	"github.com/afar-go/afar/internal/codec"
	"github.com/afar-go/afar/internal/member"
)

// taker takes arguments of every sort.
type taker struct{ calls int }

func (k *taker) None()                                             { k.calls++ }
func (k *taker) Numbers(int8, uint16, float32) int                 { k.calls++; return 1 }
func (k *taker) Texts(string, []byte, ...string)                   { k.calls++ }
func (k *taker) Any(v any) any                                     { k.calls++; return v }
func (k *taker) Many(v ...any) []any                               { k.calls++; return v }
func (k *taker) Struct(p *point, m map[point][]*point, b box[any]) { k.calls++ }
func (k *taker) Array([3]uint8, [2]odd, map[any]any)               { k.calls++ }
func (k *taker) Chain(c chain) *chain                              { k.calls++; return &c }

// FuzzInvoke sends any bytes as arguments to any method: the call is made, or there is an error of this package.
func FuzzInvoke(f *testing.F) {
	for _, name := range []string{"None", "Numbers", "Texts", "Any", "Many", "Struct", "Array", "Chain", "nune", "", "\xff"} {
		for _, args := range [][]any{
			{}, {1, 2, 3.5}, {"a", []byte("b"), "c"}, {nil, nil, nil}, {map[string]any{"a": []any{1}}}, {chain{&chain{}}},
			{point{1, 2}, map[point][]*point{{}: {nil, {}}}, box[any]{"x", []any{1}}}, {[]byte{1, 2, 3}, []int{1}, map[int]int{1: 2}},
		} {
			data := encoded(f, args...)
			for len(data) < 3 {
				data = append(data, nil)
			}
			f.Add(name, uint8(len(args)), data[0], data[1], data[2])
		}
	}
	typ := of[taker]()
	f.Fuzz(func(t *testing.T, name string, n uint8, a, b, c []byte) {
		k := &taker{}
		got, err := typ.Invoke(t.Context(), k, name, [][]byte{a, b, c}[:n%4])
		own, isOwn := err.(*member.Error)
		switch {
		case err != nil && !isOwn:
			t.Fatalf("%T %v", err, err)
		case err != nil && (k.calls > 1 || own.Error() == ""):
			t.Fatalf("%d calls with %v", k.calls, err)
		case err == nil && k.calls != 1:
			t.Fatalf("%d calls", k.calls)
		case err == nil && !got.None:
			var v any
			if err := codec.Unmarshal(got.Output, &v); err != nil {
				t.Fatalf("%s returned %x: %v", name, got.Output, err)
			}
		}
		if len(name) > 1000 && err != nil && len(err.Error()) > 1000 {
			t.Fatalf("an error of %d bytes", len(err.Error()))
		}
	})
}

// FuzzSet sets any field to any bytes: it is replaced, or the object is as before.
func FuzzSet(f *testing.F) {
	for _, v := range []any{nil, 1, 1.5, "x", []byte("x"), []any{1, "a"}, map[string]any{"X": 1, "Y": "a"}, map[point]int{{}: 1}, chain{&chain{}}} {
		for _, name := range []string{"Total", "Small", "Ratio", "Name", "Data", "Tags", "Index", "Keyed", "Point", "Time", "Odd", "Array", "Level", "Lower", "total"} {
			f.Add(name, encoded(f, v)[0])
		}
	}
	typ := of[rich]()
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		fresh := func() *rich {
			return &rich{Tags: []string{"a"}, Index: map[string]int{"a": 1}, Point: point{1, 2}, Array: [2]int{1, 2}, Lower: &Lower{Level: 3}}
		}
		r := fresh()
		err := typ.Set(t.Context(), r, name, data)
		if err == nil {
			return
		}
		if _, ok := err.(*member.Error); !ok || !reflect.DeepEqual(r, fresh()) {
			t.Fatalf("%T %v, and the object is %+v", err, err, r)
		}
	})
}
