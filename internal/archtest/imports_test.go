package archtest

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestEveryPackageIsListed fails for packages that have no row in the table.
func TestEveryPackageIsListed(t *testing.T) {
	for _, p := range load(t) {
		if find(p.path) == nil {
			t.Errorf("%s has no row in table_test.go: every package has one stated duty and layer; add a row, or move the code where it belongs", p.title())
		}
	}
}

// TestTable checks the table itself: a row may name only what has a row.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range table {
		if seen[r.path] {
			t.Errorf("%q has two rows", r.path)
		}
		seen[r.path] = true
		if r.duty == "" {
			t.Errorf("%q has no duty", r.path)
		}
		for _, other := range r.beside {
			if o := find(other); o == nil || o.layer != r.layer || slices.Contains(o.beside, r.path) {
				t.Errorf("%q may not stand beside %q: that must have a row of the same layer, and not point back", r.path, other)
			}
		}
	}
	for _, path := range slices.Concat(testPackages, forTests) {
		if find(path) == nil {
			t.Errorf("%q is made for tests, but has no row", path)
		}
	}
}

// TestLayers checks who imports whom within the module.
func TestLayers(t *testing.T) {
	const reason = "a package that imports only from below can be read, tested and replaced without what is above"
	for _, p := range load(t) {
		r := find(p.path)
		if r == nil {
			continue // named by TestEveryPackageIsListed
		}
		for _, other := range ours(p.Imports) {
			switch o := find(other); {
			case o == nil:
			case slices.Contains(testPackages, other) && !slices.Contains(forTests, p.path):
				t.Errorf("%s imports %s outside of its tests: what is made for tests is not linked into programs", p.title(), other)
			case !r.above(o):
				t.Errorf("%s (layer %d) imports %q (layer %d): %s", p.title(), r.layer, other, o.layer, reason)
			}
		}
		for _, other := range ours(slices.Concat(p.TestImports, p.XTestImports)) {
			o := find(other)
			if o != nil && other != p.path && !r.above(o) && !slices.Contains(slices.Concat(testPackages, fakes), other) {
				t.Errorf("the tests of %s (layer %d) import %q (layer %d): %s; a test has what its package may have, and %s",
					p.title(), r.layer, other, o.layer, reason, strings.Join(testPackages, ", "))
			}
		}
	}
}

// above tells whether a package of row r may import one of row o.
func (r *row) above(o *row) bool {
	return r.layer > o.layer || slices.Contains(r.beside, o.path)
}

// TestThirdParty checks which modules are let in.
func TestThirdParty(t *testing.T) {
	const reason = "the core is paid for on every upload, and each dependency is a decision: do without, or let it in there with the reason"
	for _, p := range load(t) {
		r := find(p.path)
		if r == nil {
			continue
		}
		allowed := maps.Clone(r.modules)
		for _, path := range thirdParty(p.Imports) {
			if !within(allowed, path) {
				t.Errorf("%s imports %s, which its row in table_test.go does not let in: %s", p.title(), path, reason)
			}
		}
		for _, path := range thirdParty(slices.Concat(p.TestImports, p.XTestImports)) {
			if !within(allowed, path) && !within(testModules, path) {
				t.Errorf("the tests of %s import %s, which neither its row nor testModules let in: %s", p.title(), path, reason)
			}
		}
	}
}

// TestRootReaches checks that the root package does not lead to what must not be
// in a worker, on any system, and names the way if it does.
func TestRootReaches(t *testing.T) {
	for _, system := range systems {
		listed, err := goList(system, "-deps", ".")
		if err != nil {
			t.Fatal(err)
		}
		byPath := map[string]*pkg{}
		for _, p := range listed {
			byPath[p.ImportPath] = p
		}
		for path, reason := range forbidden {
			if chain := way(byPath, module, path); chain != nil {
				t.Errorf("the root package reaches %s on %s (%s), which it must not: %s",
					path, system, strings.Join(chain, " → "), reason)
			}
		}
	}
}

// way returns the shortest chain of imports from one package to another, nil if
// there is none but by tolerated imports.
func way(byPath map[string]*pkg, from, to string) []string {
	for queue, seen := [][]string{{from}}, map[string]bool{}; len(queue) > 0; queue = queue[1:] {
		chain := queue[0]
		last := chain[len(chain)-1]
		if last == to {
			return chain
		}
		if seen[last] || byPath[last] == nil {
			continue
		}
		seen[last] = true
		for _, next := range byPath[last].Imports {
			if tolerated[[2]string{last, next}] == "" {
				queue = append(queue, append(slices.Clip(chain), next))
			}
		}
	}
	return nil
}

// ours returns those of the imports that are in this module, relative to it.
func ours(imports []string) []string {
	var paths []string
	for _, path := range imports {
		if path == module {
			paths = append(paths, "")
		} else if inside, ok := strings.CutPrefix(path, module+"/"); ok {
			paths = append(paths, inside)
		}
	}
	return paths
}

// thirdParty returns those of the imports that are neither in the standard
// library nor in this module.
func thirdParty(imports []string) []string {
	var paths []string
	for _, path := range imports {
		first, _, _ := strings.Cut(path, "/")
		if strings.Contains(first, ".") && len(ours([]string{path})) == 0 {
			paths = append(paths, path)
		}
	}
	return paths
}

// within tells whether a package belongs to one of the modules.
func within(modules map[string]string, path string) bool {
	for m := range modules {
		if path == m || strings.HasPrefix(path, m+"/") {
			return true
		}
	}
	return false
}
