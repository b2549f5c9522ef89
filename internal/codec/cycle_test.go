//lint:file-ignore U1000 the fields are never used: what matters is their types

package codec

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

type (
	node struct {
		Name string
		Next *node
		Kids []*node
	}
	withExtra struct {
		ID    int
		Extra map[string]any
		Any   any
	}
	nest      []nest
	dict      map[string]dict
	embedNode struct {
		N int
		*inner
		Wrapped
	}
	inner   struct{ unexported int } //nolint:unused // it hides
	Wrapped struct{ Any any }
)

// deepCBOR marshals itself as deep as it says.
type deepCBOR int

func (d deepCBOR) MarshalCBOR() ([]byte, error) {
	return []byte(strings.Repeat("\x81", int(d)) + "\x01"), nil
}
func (d *deepCBOR) UnmarshalCBOR(data []byte) error { *d = deepCBOR(len(data) - 1); return nil }

func listOf(n int) *list {
	var l *list
	for range n {
		l = &list{Next: l}
	}
	return l
}

func appendError[T any](t *testing.T, v T) error {
	t.Helper()
	dst := append(make([]byte, 0, 1000), "kept"...)
	out, err := codecOf[T](t).Append(dst, v)
	if err != nil && string(out) != "kept" {
		t.Errorf("%T: Append left %q", v, out)
	}
	return err
}

func TestAppendRefuses(t *testing.T) {
	ring := &node{Name: "a", Next: &node{Name: "b"}}
	ring.Next.Next = ring
	viaKids := &node{Kids: []*node{{}, {}}}
	viaKids.Kids[1].Next = viaKids
	self := []any{nil, 1}
	self[0] = self
	m := map[string]any{}
	m["k"] = []any{m}
	var p any
	p = &p
	n := nest{nil}
	n[0] = n
	d := dict{}
	d["x"] = d
	deep := any("x")
	for range MaxNestedLevels + 1 {
		deep = []any{deep}
	}
	var pointers any
	for range 10 * MaxNestedLevels {
		next := pointers
		pointers = &next
	}
	wide := make([]*node, 100) // A search that tried all paths through these would not end.
	for i := range wide {
		wide[i] = &node{}
	}
	for _, w := range wide {
		w.Kids = wide
	}

	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"ring", appendError(t, ring), "codec: codec.node.Next.Next: cyclic value"},
		{"ring by value", appendError(t, *ring), "codec: codec.node.Next.Next.Next: cyclic value"},
		{"via slice", appendError(t, viaKids), "codec: codec.node.Kids[1].Next: cyclic value"},
		{"slice", appendError(t, self), "codec: []any[0]: cyclic value"},
		{"map", appendError(t, m), `codec: map[string]any["k"][0]: cyclic value`},
		{"pointer", appendError[any](t, p), "codec: any: cyclic value"},
		{"recursive slice", appendError(t, n), "codec: codec.nest[0]: cyclic value"},
		{"recursive map", appendError(t, d), `codec: codec.dict["x"]: cyclic value`},
		{"wide", appendError(t, wide), "codec: []*codec.node[0].Kids: cyclic value"},
		{"in any", appendError(t, withExtra{Any: ring}), "codec: codec.withExtra.Any.Next.Next: cyclic value"},

		{"long list", appendError(t, listOf(MaxNestedLevels+1)), "codec: codec.list.Next.Next"},
		{"endless list", appendError(t, listOf(200_000)), "codec: codec.list.Next.Next"},
		{"deep any", appendError(t, deep), "codec: any[0][0]"},
		{"pointers", appendError(t, pointers), "codec: any: nested deeper than 4096 levels"},
		{"deep marshaler", appendError(t, deepCBOR(MaxNestedLevels+1)), "codec: codec.deepCBOR: cbor: exceeded max nested level"},
		{"deep marshaler in any", appendError[any](t, deepCBOR(MaxNestedLevels+1)), "codec: any: cbor: exceeded max nested level"},
		{"tags", appendError(t, tagRun(maxTagRun+1)), "codec: cbor.Tag: more than 8 CBOR tags in a row"},

		{"chan in map", appendError(t, withExtra{Extra: map[string]any{"k": make(chan int)}}), `codec: codec.withExtra.Extra["k"]: chan int cannot travel`},
		{"func in any", appendError(t, withExtra{Any: []any{1, func() {}}}), "codec: codec.withExtra.Any[1]: func() cannot travel"},
		{"complex", appendError[any](t, 1i), "codec: any: complex128 cannot travel"},
		{"in a struct in any", appendError[any](t, []any{jobChan{}}), "codec: any[0].Done: chan int cannot travel"},
		{"error in any", appendError(t, withExtra{Any: errors.New("x")}), "codec: codec.withExtra.Any: errors.errorString cannot travel"},
		{"in key", appendError(t, map[any]int{goodKey{}: 1}), "codec: map[any]int[codec.goodKey]: a key of type codec.goodKey cannot be decoded"},
		{"pointer key", appendError(t, map[any]int{ptr(1): 1}), "codec: map[any]int[*int]: a key of type *int cannot"},
		{"struct keys in any", appendError(t, withExtra{Any: []map[goodKey]int{}}), "codec: codec.withExtra.Any: []map[codec.goodKey]int has a map whose keys"},
		{"long key", appendError(t, withExtra{Extra: map[string]any{strings.Repeat("x", 1000): 1i}}), `codec: codec.withExtra.Extra["xxxx`},
		{"int key", appendError(t, map[int8]any{-3: 1i}), "codec: map[int8]any[-3]: complex128 cannot travel"},
		{"uint key", appendError(t, map[uint]any{3: 1i}), "codec: map[uint]any[3]: complex128 cannot travel"},
		{"bool key", appendError(t, map[any]any{true: 1i}), "codec: map[any]any[true]: complex128 cannot travel"},
		{"float key", appendError(t, map[float64]any{.5: 1i}), "codec: map[float64]any[0.5]: complex128 cannot travel"},
		{"old time", appendError(t, pair[int, time.Time]{Second: time.Date(1890, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", 1172))}), "codec: codec.pair[int,time.Time].Second: the zone's offset of 1172 seconds"},
		{"far zone", appendError(t, time.Date(1990, 1, 1, 0, 0, 0, 0, time.FixedZone("far", 86400))), "codec: time.Time: the zone's offset of 86400 seconds"},
		{"far time", appendError(t, []*time.Time{nil, ptr(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))}), "codec: []*time.Time[1]: the year 10000 is not within"},
		{"time before Christ", appendError(t, map[time.Time]int{time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC): 1}), "codec: map[time.Time]int[time.Time]: the year -1 is not within"},
		{"time keys in any", appendError[any](t, map[time.Time]int{}), "codec: any: map[time.Time]int has a map whose keys cannot"},
		{"time key in any", appendError[any](t, map[any]int{time.Unix(1, 0): 1}), "codec: any[time.Time]: a time.Time key would be decoded into an any as a string"},
		{"nil key in any", appendError[any](t, map[any]int{nil: 1}), "codec: any[nil]: a nil key would be"},
		{"embedded", appendError(t, embedNode{Wrapped: Wrapped{1i}}), "codec: codec.embedNode.Wrapped.Any: complex128 cannot travel"},
	} {
		if test.err == nil {
			t.Errorf("%s: accepted", test.name)
			continue
		}
		var e *Error
		if message := test.err.Error(); !errors.As(test.err, &e) || !strings.HasPrefix(message, test.want) || len(message) > 1000 {
			t.Errorf("%s:\ngot  %.1000s\nwant %s", test.name, message, test.want)
		}
	}
}

func tagRun(n int) cbor.Tag {
	t := cbor.Tag{Number: 100, Content: "x"}
	for range n - 1 {
		t = cbor.Tag{Number: 100, Content: t}
	}
	return t
}

// What Append accepts at its limits, Decode accepts too.
func TestDepthLimitIsTheSameOnBothSides(t *testing.T) {
	deep := any("x")
	for range MaxNestedLevels {
		deep = []any{deep}
	}
	for name, test := range map[string]func(*testing.T){
		"list": same(listOf(MaxNestedLevels)),
		"any":  same(deep),
		"self": same(deepCBOR(MaxNestedLevels)),
		"tags": same(tagRun(maxTagRun)),
	} {
		t.Run(name, test)
	}
}

// Lists much longer than a quick search would remember are told apart from cycles.
func TestLongListIsNotCyclic(t *testing.T) {
	err := appendError(t, listOf(MaxNestedLevels+1))
	if err == nil || strings.Contains(err.Error(), "cyclic") || !strings.HasSuffix(err.Error(), "nested deeper than 4096 levels") {
		t.Errorf("got %v", err)
	}
}

func TestSharedPointersTravel(t *testing.T) {
	shared := &node{Name: "s"}
	got := roundTrip(t, &node{Next: &node{Next: shared}, Kids: []*node{shared, shared}})
	if got.Next.Next.Name != "s" || got.Kids[0].Name != "s" || got.Kids[1].Name != "s" {
		t.Errorf("got %v", got)
	}
	leaf := []any{"x"}
	if got := roundTrip(t, []any{leaf, leaf}); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

// Only types whose values need it pay for the walk.
func TestWhichTypesAreWalked(t *testing.T) {
	for _, test := range []struct {
		name   string
		walked bool
		want   bool
	}{
		{"flat struct", codecOf[jobDropped](t).shape.walked(), false},
		{"nested", codecOf[map[string][]*goodKey](t).shape.walked(), false},
		{"big numbers", codecOf[deepCBOR](t).shape.walked(), false},
		{"time", codecOf[pair[int, time.Time]](t).shape.walked(), true},
		{"list", codecOf[list](t).shape.walked(), true},
		{"holds a list", codecOf[[]pair[int, *list]](t).shape.walked(), true},
		{"any", codecOf[any](t).shape.walked(), true},
		{"holds an any", codecOf[map[int]withExtra](t).shape.walked(), true},
	} {
		if test.walked != test.want {
			t.Errorf("%s: walked is %v", test.name, test.walked)
		}
	}
}
