package archtest

import (
	"go/ast"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPackageDoc checks that a package is introduced, in one place.
func TestPackageDoc(t *testing.T) {
	for _, p := range load(t) {
		var introduced []string
		code := false
		for _, f := range p.files {
			code = code || !f.test
			if !f.test && f.syntax.Doc != nil {
				introduced = append(introduced, f.name)
			}
		}
		if code && len(introduced) != 1 {
			t.Errorf("%s has its package doc in %d files %v, not in one: a stranger must see there what lives in the package",
				p.title(), len(introduced), introduced)
		}
	}
}

// TestFileLength checks the length of the files of libraries, tests included.
func TestFileLength(t *testing.T) {
	for _, p := range load(t) {
		for _, f := range p.files {
			if p.library() && f.lines > maxFileLines {
				t.Errorf("%s has %d lines, more than %d: what ages badly is always one god file; split it by noun", f.name, f.lines, maxFileLines)
			}
		}
	}
}

// TestRootSize reports the size of the root package, and compares it with the
// house numbers.
func TestRootSize(t *testing.T) {
	files, lines, exported := 0, 0, 0
	for _, p := range load(t) {
		for _, f := range p.files {
			if p.path != "" || f.test {
				continue
			}
			files++
			lines += f.lines
			exported += len(exportedNames(f.syntax))
		}
	}
	for _, number := range []struct {
		what     string
		got, max int
	}{
		{"files", files, maxRootFiles},
		{"lines", lines, maxRootLines},
		{"exported names", exported, maxRootExported},
	} {
		t.Logf("root package: %d %s of at most %d", number.got, number.what, number.max)
		if number.got > number.max {
			t.Errorf("the root package has %d %s, more than %d: a user must be able to read it in one sitting; take something out, or raise the number in table_test.go and say why",
				number.got, number.what, number.max)
		}
	}
}

// exportedNames returns the exported names that a file declares, methods and
// fields not counted.
func exportedNames(f *ast.File) []string {
	var names []string
	add := func(id *ast.Ident) {
		if id.IsExported() {
			names = append(names, id.Name)
		}
	}
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				add(d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					add(s.Name)
				case *ast.ValueSpec:
					for _, id := range s.Names {
						add(id)
					}
				}
			}
		}
	}
	return names
}

// TestNoExit checks that libraries leave the process alone.
func TestNoExit(t *testing.T) {
	for _, p := range load(t) {
		if r := find(p.path); r == nil || r.exits != "" {
			continue
		}
		for _, f := range p.files {
			if f.test {
				continue
			}
			ends := uses(f.syntax, "os", "Exit")
			for _, name := range []string{"Fatal", "Fatalf", "Fatalln"} {
				ends = append(ends, uses(f.syntax, "log", name)...)
			}
			for _, use := range ends {
				t.Errorf("%s ends the process: a library that does takes a decision that is its user's; return the error", place(use))
			}
		}
	}
}

// TestNoSleep checks that tests wait for events, not for time. In a bubble of
// testing/synctest the clock is not the real one, so sleeping is fine in there.
func TestNoSleep(t *testing.T) {
	for _, p := range load(t) {
		for _, f := range p.files {
			if !f.test {
				continue
			}
			bubbles := uses(f.syntax, "testing/synctest", "Test")
			for _, sleep := range uses(f.syntax, "time", "Sleep") {
				if !slices.ContainsFunc(bubbles, func(b *ast.CallExpr) bool { return b.Pos() < sleep.Pos() && sleep.End() < b.End() }) {
					t.Errorf("%s sleeps: too short on a busy machine, too long on every other; wait for the event, or use testing/synctest", place(sleep))
				}
			}
		}
	}
}

// TestGoleak checks that packages which start goroutines look for leaks.
func TestGoleak(t *testing.T) {
	for _, p := range load(t) {
		starts, checks, tested := "", false, false
		for _, f := range p.files {
			if f.test {
				tested = true
				checks = checks || len(uses(f.syntax, "go.uber.org/goleak", "VerifyTestMain")) > 0
				continue
			}
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				if starts == "" && startsGoroutine(n) {
					starts = place(n)
				}
				return true
			})
		}
		suite := slices.Contains(forTests, p.path) && !tested // its goroutines are seen by those who run it
		if starts != "" && !checks && !suite {
			t.Errorf("%s starts goroutines (%s), and no TestMain of it calls goleak.VerifyTestMain: no goroutine outlives Close, and only that sees it",
				p.title(), starts)
		}
	}
}

// startsGoroutine tells whether a node is a go statement, or a call like that of
// sync.WaitGroup's Go.
func startsGoroutine(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		return true
	case *ast.CallExpr:
		selector, ok := n.Fun.(*ast.SelectorExpr)
		return ok && selector.Sel.Name == "Go" && len(n.Args) == 1
	}
	return false
}

// uses returns the calls of a function of another package in a file.
func uses(f *ast.File, path, function string) []*ast.CallExpr {
	name := imported(f, path)
	var calls []*ast.CallExpr
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || selector.Sel.Name != function {
			return true
		}
		if id, ok := selector.X.(*ast.Ident); ok && id.Name == name {
			calls = append(calls, call)
		}
		return true
	})
	return calls
}

// imported returns the name by which a file knows an import, "" if it does not.
func imported(f *ast.File, path string) string {
	for _, spec := range f.Imports {
		if got, err := strconv.Unquote(spec.Path.Value); err != nil || got != path {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path[strings.LastIndex(path, "/")+1:]
	}
	return ""
}

// place says where a node is, relative to the module.
func place(n ast.Node) string {
	position := positions.Position(n.Pos())
	return position.Filename + ":" + strconv.Itoa(position.Line)
}
