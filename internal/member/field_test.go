package member_test

import (
	"bytes"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar/internal/codec"
)

func TestGet(t *testing.T) {
	r := &rich{
		Total: 1, Name: "outer", Data: []byte("d"), Index: map[string]int{"a": 1}, Keyed: map[point]int{{1, 2}: 3}, Any: point{1, 2},
		Err: &customError{Code: 4}, Time: time.Unix(7, 0).UTC(), base: base{Inherited: 5, Name: "inner"}, Lower: &Lower{Level: 6}, MyInt: 7,
	}
	var nilBytes []byte
	for _, x := range []struct {
		name string
		want any
	}{
		{"Total", 1},
		{"Name", "outer"},
		{"Data", []byte("d")},
		{"Tags", []string(nil)},
		{"Index", map[string]int{"a": 1}},
		{"Keyed", map[point]int{{1, 2}: 3}},
		{"Any", point{1, 2}},
		{"Err", &customError{Code: 4}},
		{"Reader", nil},
		{"Point", point{}},
		{"Time", time.Unix(7, 0).UTC()},
		{"Big", big.Int{}},
		{"Rat", (*big.Rat)(nil)},

		// promoted
		{"Inherited", 5},
		{"Level", 6},
		{"MyInt", MyInt(7)},
		{"Lower", &Lower{Level: 6}},
		{"Stringer", nil},

		// computed
		{"Value", 1},
		{"Doubled", 10},
		{"Both", "outer"},
		{"Sum", 0},
		{"Sign", "+"},
	} {
		get(t, r, x.want, x.name)
	}
	r.Any = nil
	get(t, r, nil, "Any")
	r.Any = nilBytes
	get(t, r, nilBytes, "Any")
	r.Reader = &bytes.Buffer{}
	_, err := of[rich]().Get(t.Context(), r, "Reader")
	refused(t, err, "Reader", "rich.Reader io.Reader: its value cannot travel: codec: any: bytes.Buffer cannot travel")
}

func TestGetErrors(t *testing.T) {
	typ := of[rich]()
	offers := typ.Offers()
	for name, parts := range map[string][]string{
		"Add":        {"rich.Add(int) (int, error): takes 1 argument, so it cannot be read; it has to be invoked", offers},
		"Join":       {"takes at least 1 argument, so it cannot be read"},
		"Reset":      {"rich.Reset(): returns no value", "invoked", offers},
		"Check":      {"rich.Check() error: returns no value", offers},
		"Pair":       {"rich.Pair() (int, string): cannot be called remotely"},
		"Stream":     {"rich.Stream() <-chan int: cannot be called remotely because of its result"},
		"Chan":       {"rich.Chan chan int: cannot be reached remotely: codec: chan int cannot travel", offers},
		"Func":       {"rich.Func func(): cannot be reached remotely: codec: func() cannot travel"},
		"Nested":     {"rich.Nested struct { Deep []chan int }: cannot be reached remotely", "Deep[]: chan int cannot travel"},
		"total":      {"rich.total int: is not exported: did you mean Total?", offers},
		"stepped":    {"rich.stepped chan int: is not exported."},
		"Level":      {"rich.Level int: it is a field of the embedded *member_test.Lower, which is nil", offers},
		"frobnicate": {`rich has no member "frobnicate". It offers ` + offers},
		"TOTAL":      {`rich has no member "TOTAL": did you mean Total? It offers ` + offers},
		"totl":       {`has no member "totl": did you mean Total? It offers `},
		"Nmae":       {`has no member "Nmae": did you mean Name? It offers `},
		"Inhertied":  {`did you mean Inherited?`},
		"Xxtal":      {`did you mean Total?`},
		"Zq":         {`has no member "Zq". It offers`},
		"":           {`has no member "". It offers`},
		"Tötal":      {`has no member "Tötal": did you mean Total?`},
		"\xff\x00":   {`has no member "\xff\x00". It`},
		"unexported": {`rich has no member "unexported". It offers`},
		"watch":      {`has no member "watch". It offers`},
	} {
		_, err := typ.Get(t.Context(), &rich{}, name)
		refused(t, err, name, parts...)
	}

	long := strings.Repeat("é", 1<<20)
	_, err := typ.Get(t.Context(), &rich{}, long)
	if err == nil || len(err.Error()) > len(offers)+200 {
		t.Errorf("an error of %d bytes for a long name", len(err.Error()))
	}
}

func TestSet(t *testing.T) {
	r := &rich{Lower: &Lower{}, Index: map[string]int{"old": 1}, Point: point{1, 2}, Next: &rich{}, Odd: 5}
	now := time.Now().UTC().Round(0)
	for _, x := range []struct {
		name  string
		value any
		got   func() any
		want  any
	}{
		{"Total", 5, func() any { return r.Total }, 5},
		{"Small", uint16(127), func() any { return r.Small }, int8(127)},
		{"Ratio", 2, func() any { return r.Ratio }, 2.0},
		{"Name", "new", func() any { return r.Name }, "new"},
		{"Data", []byte("d"), func() any { return r.Data }, []byte("d")},
		{"Data", nil, func() any { return r.Data }, []byte(nil)},
		{"Tags", []string{}, func() any { return r.Tags }, []string{}},
		{"Index", map[string]int{"new": 2}, func() any { return r.Index }, map[string]int{"new": 2}},
		{"Index", nil, func() any { return r.Index }, map[string]int(nil)},
		{"Point", struct{ X int }{7}, func() any { return r.Point }, point{X: 7}},
		{"Any", []any{1, nil}, func() any { return r.Any }, []any{int64(1), nil}},
		{"Any", nil, func() any { return r.Any }, nil},
		{"Rat", big.NewRat(1, 3), func() any { return r.Rat }, big.NewRat(1, 3)},
		{"Rat", nil, func() any { return r.Rat }, (*big.Rat)(nil)},
		{"Time", now, func() any { return r.Time }, now},
		{"Time", time.Time{}, func() any { return r.Time }, time.Time{}},
		{"Big", 9, func() any { return &r.Big }, big.NewInt(9)},
		{"Odd", nil, func() any { return r.Odd }, odd(-1)},
		{"Odd", 3, func() any { return r.Odd }, odd(3)},
		{"Array", []int{1, 2}, func() any { return r.Array }, [2]int{1, 2}},
		{"Inherited", 4, func() any { return r.Inherited }, 4},
		{"Level", 3, func() any { return r.Level }, 3},
		{"MyInt", 8, func() any { return r.MyInt }, MyInt(8)},
		{"Lower", Lower{Level: 9}, func() any { return r.Lower }, &Lower{Level: 9}},
		{"Lower", nil, func() any { return r.Lower }, (*Lower)(nil)},
	} {
		set(t, r, x.name, x.value)
		if got := x.got(); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s was set to %v and is %#v, want %#v", x.name, x.value, got, x.want)
		}
	}
}

func TestSetErrors(t *testing.T) {
	typ := of[rich]()
	offers := typ.Offers()
	for _, x := range []struct {
		name  string
		value any
		parts []string
	}{
		{"Total", "x", []string{"rich.Total int: cannot be set to that: codec: int: ", offers}},
		{"Total", nil, []string{"cannot be set to that: nil is no value of type int", offers}},
		{"Name", nil, []string{"nil is no value of type string"}},
		{"Point", nil, []string{"nil is no value of type member_test.point"}},
		{"Array", nil, []string{"nil is no value of type [2]int"}},
		{"Big", nil, []string{"nil is no value of type big.Int"}},
		{"Small", -129, []string{"rich.Small int8: cannot be set to that: codec: int8"}},
		{"Tags", []any{"a", 1}, []string{"codec: []string"}},
		{"Point", map[string]any{"X": 9, "Y": "y"}, []string{"codec: member_test.point"}},
		{"Index", map[string]any{"a": 9, "b": "y"}, []string{"codec: map[string]int"}},
		{"Reader", nil, []string{"rich.Reader io.Reader: can be read, but not set: codec: io.Reader cannot travel because it is an interface with methods"}},
		{"Err", nil, []string{"rich.Err error: can be read, but not set: codec: error"}},
		{"Chan", nil, []string{"rich.Chan chan int: cannot be reached remotely: codec: chan int cannot travel"}},
		{"Value", 1, []string{"rich.Value() int: is a method, not a field", offers}},
		{"Pair", 1, []string{"rich.Pair() (int, string): is a method, not a field"}},
		{"total", 1, []string{"rich.total int: is not exported: did you mean Total?", offers}},
		{"Level", 1, []string{"it is a field of the embedded *member_test.Lower, which is nil"}},
		{"Totals", 1, []string{`rich has no member "Totals": did you mean Total? It offers ` + offers}},
	} {
		fresh := func() *rich {
			return &rich{Total: 1, Name: "n", Tags: []string{"t"}, Point: point{1, 2}, Index: map[string]int{"i": 1}}
		}
		r := fresh()
		err := typ.Set(t.Context(), r, x.name, encoded(t, x.value)[0])
		refused(t, err, x.name, x.parts...)
		if !reflect.DeepEqual(r, fresh()) {
			t.Errorf("%s: the object has changed: %+v", x.name, r)
		}
	}

	// What is not one encoded value.
	for _, data := range []string{"", "\xff", "\x01\x01", "\xc1", "\xc1\xf6\xf6", "\xf6\x00", "\xdb\x00"} {
		err := typ.Set(t.Context(), &rich{}, "Total", []byte(data))
		refused(t, err, "Total", "cannot be set to that: codec: ")
		var cause *codec.Error
		if !errors.As(err, &cause) {
			t.Errorf("%x: %v", data, err)
		}
	}
	// Null behind tags, and undefined.
	for _, data := range []string{"\xf6", "\xf7", "\xc5\xf6", "\xd9\xd9\xf7\xf6", "\xdb\x00\x00\x00\x00\x00\x00\x00\x05\xf7"} {
		refused(t, typ.Set(t.Context(), &rich{}, "Total", []byte(data)), "Total", "nil is no value of type int")
	}
}
