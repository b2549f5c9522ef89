package registry_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/afar-go/afar/internal/registry"
)

// TestRegistry is one story, since the registry is one for the process.
func TestRegistry(t *testing.T) {
	add := func(name, in, out string) *registry.Function {
		return registry.Add(&registry.Function{Name: name, In: in, Out: out})
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
	if registry.Sealed() || a.Late {
		t.Error("sealed before Seal")
	}
	registry.Seal()
	registry.Seal()
	late := add("c", "int", "int")
	if !registry.Sealed() || !late.Late || b.Late {
		t.Error("a function after Seal is late, one before it is not")
	}
	if again := add("b", "int", "int"); again != b || b.Late {
		t.Error("registering again made a function late")
	}
	if got := registry.Functions(); !slices.Equal(got, []*registry.Function{a, b, other, late}) {
		t.Errorf("not sorted by key: %v", got)
	}
	if registry.Lookup(b.Key()) != b || registry.Lookup("b") != nil || b.Key() != "b(int) int" {
		t.Errorf("lookup by key %q", b.Key())
	}
}

func TestConcurrentUse(t *testing.T) {
	const n = 20
	got := make([]*registry.Function, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			got[i] = registry.Add(&registry.Function{Name: "same"})
			registry.Add(&registry.Function{Name: fmt.Sprint("own", i)})
			registry.Functions()
			registry.Lookup("same() ")
		})
	}
	wg.Wait()
	if slices.ContainsFunc(got, func(f *registry.Function) bool { return f != got[0] }) {
		t.Error("one name and type made several functions")
	}
}

func TestDescribe(t *testing.T) {
	keys := strings.Split("abcdefghij", "")
	for _, x := range []struct {
		n    int
		want string
	}{{0, "none"}, {1, "a"}, {8, "a, b, c, d, e, f, g, h"}, {10, "a, b, c, d, e, f, g, h and 2 more"}} {
		if got := registry.Describe(keys[:x.n]); got != x.want {
			t.Errorf("%d keys: %q", x.n, got)
		}
	}
}
