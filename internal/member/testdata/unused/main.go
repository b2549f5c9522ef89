// Unused imports the package and calls it only where it never gets.
package main

import (
	"fmt"
	"reflect"

	"github.com/afar-go/afar/internal/member"
)

type object struct{ Total int }

func (o *object) String() string { return fmt.Sprint("object ", o.Total) }

//go:noinline
func (o *object) NobodyCallsThis() { fmt.Println("called") }

// Class is as in a library: generic, and exported.
func Class[T any]() *member.Type { return member.Of(reflect.TypeFor[*T]()) }

func main() { fmt.Println(&object{1}) }
