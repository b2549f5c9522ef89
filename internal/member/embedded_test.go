package member_test

import (
	"reflect"
	"testing"

	"github.com/afar-go/afar/internal/member"
)

type (
	left  struct{ Both, OnlyLeft, FieldHere int }
	right struct{ Both, OnlyRight int }

	withMethods struct{ X int }
	over        struct{ withMethods }
	under       struct{ middle }
	middle      struct{ Deeper }
	Deeper      struct{ Ping, Pong, Deep int }
	oneMore     struct{}
	Self        struct {
		*Self
		Value int
	}
	pinger interface{ Ping() string }
	boxed  struct {
		box[int]
		*Lower
	}
)

func (left) MethodHere() int     { return 1 }
func (right) FieldHere() int     { return 2 }
func (withMethods) Ping() string { return "ping" }
func (over) Deep() string        { return "over" }
func (oneMore) Ping() string     { return "one more" }

// What the error says where Get gives no value.
const (
	missing   = "has no member"
	unclear   = "several embedded fields have one"
	nilInside = "which is nil"
)

// The Go compiler says the same of each selector.
var embeddedCases = []struct {
	what string
	obj  any
	name string
	want any // or the text of an error
}{
	{"a promoted field", &struct{ left }{left{OnlyLeft: 4}}, "OnlyLeft", 4},
	{"two fields at one depth", &struct {
		left
		right
	}{}, "Both", unclear},
	{"a field above two fields", &struct {
		left
		right
		Both int
	}{Both: 5}, "Both", 5},
	{"a field and a method at one depth", &struct {
		left
		right
	}{}, "FieldHere", unclear},
	{"a method of the one of two", &struct {
		left
		right
	}{}, "MethodHere", 1},
	{"a method above a field", &struct {
		over
		under
	}{under: deep}, "Deep", "over"},
	{"a method that is promoted twice, above a field", &struct {
		over
		under
	}{under: deep}, "Ping", "ping"},
	{"two methods at one depth", &struct {
		withMethods
		oneMore
	}{}, "Ping", unclear},
	{"two methods above a field", &struct {
		withMethods
		oneMore
		under
	}{under: deep}, "Ping", unclear},
	{"a field above a method", &struct {
		over
		Deeper
	}{Deeper: Deeper{Ping: 6}}, "Ping", 6},
	{"a field that nothing hides", &struct {
		withMethods
		oneMore
		under
	}{under: deep}, "Pong", 2},
	{"an interface and a struct", &struct {
		pinger
		Deeper
	}{}, "Ping", unclear},
	{"an interface", &struct{ pinger }{withMethods{}}, "Ping", "ping"},
	{"a generic type", &boxed{box: box[int]{Value: 7}}, "Value", 7},
	{"a generic type's method", &boxed{box: box[int]{Items: []int{8}}}, "All", []int{8}},
	{"an embedded type by its name", &struct{ Deeper }{Deeper{Deep: 9}}, "Deeper", Deeper{Deep: 9}},
	{"a nil pointer", &boxed{}, "Level", nilInside},
	{"a type in itself", &Self{Value: 1, Self: &Self{Value: 2}}, "Value", 1},
	{"a type in itself", &Self{}, "Volume", missing},
	{"an unexported name", &struct {
		left
		right
	}{}, "both", missing},
}

var deep = under{middle{Deeper{Ping: 1, Pong: 2, Deep: 3}}}

func TestEmbedded(t *testing.T) {
	for _, x := range embeddedCases {
		t.Run(x.what+" "+x.name, func(t *testing.T) {
			text, _ := x.want.(string)
			switch text {
			case missing, unclear, nilInside:
				_, err := member.Of(reflect.TypeOf(x.obj)).Get(t.Context(), x.obj, x.name)
				refused(t, err, x.name, text)
			default:
				get(t, x.obj, x.want, x.name)
			}
		})
	}
}

type (
	hiddenPointer struct{ *base }
	hiddenDeeper  struct{ hiddenPointer }
)

// Go lets other packages set the exported fields of unexported embedded structs, and so does reflection.
func TestSetThroughUnexported(t *testing.T) {
	h := &hiddenDeeper{hiddenPointer{&base{}}}
	set(t, h, "Inherited", 3)
	get(t, h, 3, "Inherited")
	invoke(t, h, 6, "Doubled")
	err := of[hiddenDeeper]().Set(t.Context(), &hiddenDeeper{}, "Inherited", encoded(t, 3)[0])
	refused(t, err, "Inherited", "it is a field of the embedded *member_test.base, which is nil")
	if got := of[hiddenDeeper]().Offers(); got != "methods Doubled() int, Raise(int), Shadowed() string; fields Inherited int, Name string" {
		t.Error(got)
	}
}
