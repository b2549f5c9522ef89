package codec

import (
	"math/big"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
)

const here = "github.com/afar-go/afar/internal/codec"

func TestTypeName(t *testing.T) {
	for _, test := range []struct {
		t    reflect.Type
		want string
	}{
		{nil, "nil"},
		{reflect.TypeFor[int](), "int"},
		{reflect.TypeFor[byte](), "uint8"},
		{reflect.TypeFor[rune](), "int32"},
		{reflect.TypeFor[any](), "any"},
		{reflect.TypeFor[error](), "error"},
		{reflect.TypeFor[struct{}](), "struct {  }"},
		{reflect.TypeFor[unsafe.Pointer](), "unsafe.Pointer"},
		{reflect.TypeFor[time.Time](), "time.Time"},
		{reflect.TypeFor[big.Int](), "math/big.Int"},
		{reflect.TypeFor[cbor.Tag](), "github.com/fxamacker/cbor/v2.Tag"},
		{reflect.TypeFor[list](), here + ".list"},
		{reflect.TypeFor[**list](), "**" + here + ".list"},
		{reflect.TypeFor[map[string]list](), "map[string]" + here + ".list"},
		{reflect.TypeFor[[]list](), "[]" + here + ".list"},
		{reflect.TypeFor[[3]list](), "[3]" + here + ".list"},
		{reflect.TypeFor[pair[list, []big.Int]](), here + ".pair[" + here + ".list,[]math/big.Int]"},
		{reflect.TypeFor[func(list, ...big.Int) error](), "func(" + here + ".list, ...math/big.Int) (error)"},
		{reflect.TypeFor[struct {
			A list `cbor:"a"`
			b int
			time.Time
		}](), "struct { A " + here + `.list "cbor:\"a\""; ` + here + ".b int; embed Time time.Time }"},
		{reflect.TypeFor[chan list](), "chan (" + here + ".list)"},
		{reflect.TypeFor[chan (<-chan int)](), "chan (<-chan (int))"},
		{reflect.TypeFor[chan<- (chan int)](), "chan<- (chan (int))"},
		{reflect.TypeFor[interface{ M() list }](), "interface { M() codec.list }"},
	} {
		if got := TypeName(test.t); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

func TestTypeNamesDiffer(t *testing.T) {
	types := []reflect.Type{
		reflect.TypeFor[[]int](), reflect.TypeFor[[0]int](), reflect.TypeFor[[1]int](), reflect.TypeFor[*int](),
		reflect.TypeFor[func(int)](), reflect.TypeFor[func() int](), reflect.TypeFor[func([]int)](), reflect.TypeFor[func(...int)](),
		reflect.TypeFor[chan<- (chan int)](), reflect.TypeFor[chan (<-chan int)](), reflect.TypeFor[<-chan (chan int)](),
		reflect.TypeFor[struct{ A int }](), reflect.TypeFor[struct{ a int }](), reflect.TypeFor[struct {
			A int `x:"y"`
		}](),
		reflect.TypeFor[struct{ Base }](), reflect.TypeFor[struct{ Base Base }](), reflect.TypeFor[struct{ base }](),
		reflect.TypeFor[pair[int, string]](), reflect.TypeFor[pair[string, int]](), reflect.TypeFor[celsius](), reflect.TypeFor[float64](),
	}
	seen := map[string]reflect.Type{}
	for _, typ := range types {
		name := TypeName(typ)
		if other, ok := seen[name]; ok {
			t.Errorf("%v and %v are both %s", typ, other, name)
		}
		seen[name] = typ
	}
}
