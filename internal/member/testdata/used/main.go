// Used calls a method by its name.
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"

	"github.com/afar-go/afar/internal/member"
)

type object struct{ Total int }

func (o *object) String() string { return fmt.Sprint("object ", o.Total) }

//go:noinline
func (o *object) NobodyCallsThis() { fmt.Println("called") }

func main() {
	o := &object{1}
	fmt.Println(o)
	fmt.Println(member.Of(reflect.TypeFor[*object]()).Invoke(context.Background(), o, os.Args[1], nil))
}
