package registry

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fresh empties the registry, which is one for the process.
func fresh() {
	table.Lock()
	defer table.Unlock()
	table.byKey, table.sealed = nil, false
}

func TestRegistry(t *testing.T) {
	fresh()
	add := func(name, in, out string) *Function {
		return Add(&Function{Name: name, In: in, Out: out})
	}
	b := add("b", "int", "int")
	if again := add("b", "int", "int"); again != b {
		t.Error("the same name and types made a second function")
	}
	other := add("b", "string", "int")
	if other == b {
		t.Error("other types made no other function")
	}
	a := add("a", "int", "int")
	if Sealed() || a.Late {
		t.Error("sealed before Seal")
	}
	Seal()
	Seal()
	late := add("c", "int", "int")
	if !Sealed() || !late.Late || b.Late {
		t.Error("a function after Seal is late, one before it is not")
	}
	if again := add("b", "int", "int"); again != b || b.Late {
		t.Error("registering again made a function late")
	}
	if got := Functions(); !slices.Equal(got, []*Function{a, b, other, late}) {
		t.Errorf("not sorted by key: %v", got)
	}
	if Lookup(b.Key()) != b || Lookup("b") != nil || b.Key() != "b(int) int" {
		t.Errorf("lookup by key %q", b.Key())
	}
}

func TestConcurrentUse(t *testing.T) {
	fresh()
	const n = 20
	got := make([]*Function, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			got[i] = Add(&Function{Name: "same"})
			Add(&Function{Name: fmt.Sprint("own", i)})
			Functions()
			Lookup("same() ")
		})
	}
	wg.Wait()
	if slices.ContainsFunc(got, func(f *Function) bool { return f != got[0] }) {
		t.Error("one name and type made several functions")
	}
}

func TestDescribe(t *testing.T) {
	keys := strings.Split("abcdefghij", "")
	for _, x := range []struct {
		n    int
		want string
	}{{0, "none"}, {1, "a"}, {8, "a, b, c, d, e, f, g, h"}, {10, "a, b, c, d, e, f, g, h and 2 more"}} {
		if got := Describe(keys[:x.n]); got != x.want {
			t.Errorf("%d keys: %q", x.n, got)
		}
	}
}

// TestKindsAreApart: functions of one name and one type but different kinds are
// different functions.
func TestKindsAreApart(t *testing.T) {
	fresh()
	keys := map[string]Kind{}
	for _, kind := range []Kind{Call, Routine, Class, Method} {
		f := Add(&Function{Kind: kind, Name: "kinds", In: "int", Out: "string", PC: uintptr(kind) + 1})
		if f.Kind != kind {
			t.Errorf("kind %d was taken for kind %d", kind, f.Kind)
		}
		if other, taken := keys[f.Key()]; taken {
			t.Errorf("kinds %d and %d share the key %q", kind, other, f.Key())
		}
		keys[f.Key()] = kind
		if Lookup(f.Key()) != f {
			t.Errorf("kind %d is not found by its key", kind)
		}
	}
}
