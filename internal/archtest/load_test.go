package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// systems are the operating systems whose imports are looked at: a file that is
// built for only one of them is under the same rules.
var systems = []string{"linux", "darwin", "windows"}

// A pkg is one package of the module: what go list says, over all systems.
type pkg struct {
	ImportPath   string
	Name         string
	Dir          string
	Imports      []string
	TestImports  []string // of tests inside the package
	XTestImports []string // of tests in the package's external _test package
	path         string   // relative to the module; "" is the root package
	files        []file
}

// library tells whether others import the package.
func (p *pkg) library() bool { return p.Name != "main" && !strings.HasPrefix(p.path, "examples/") }

// title is how messages name the package.
func (p *pkg) title() string {
	if p.path == "" {
		return "afar (the root package)"
	}
	return p.path
}

// A file is one source file of a package, whatever system it is built for.
type file struct {
	name   string // relative to the module
	test   bool
	lines  int
	syntax *ast.File
}

// positions are those of every parsed file.
var positions = token.NewFileSet()

// packages lists the packages of the module, and reads them, once.
var packages = sync.OnceValues(func() ([]*pkg, error) {
	if err := lookAround(); err != nil {
		return nil, err
	}
	byPath := map[string]*pkg{}
	var all []*pkg
	for _, system := range systems {
		listed, err := goList(system, "./...")
		if err != nil {
			return nil, err
		}
		for _, p := range listed {
			known := byPath[p.ImportPath]
			if known == nil {
				byPath[p.ImportPath] = p
				all = append(all, p)
				continue
			}
			known.Imports = append(known.Imports, p.Imports...)
			known.TestImports = append(known.TestImports, p.TestImports...)
			known.XTestImports = append(known.XTestImports, p.XTestImports...)
		}
	}
	for _, p := range all {
		p.path = strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, imports := range []*[]string{&p.Imports, &p.TestImports, &p.XTestImports} {
			slices.Sort(*imports)
			*imports = slices.Compact(*imports)
		}
		if err := p.read(); err != nil {
			return nil, err
		}
	}
	return all, nil
})

// load returns the packages of the module.
func load(t *testing.T) []*pkg {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// lookAround opens every folder of the module. What go list opens, go test does
// not see: without this, a result from its cache would hide a new package.
func lookAround() error {
	return filepath.WalkDir(filepath.Join("..", ".."), func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() && entry.Name() == ".git" {
			return fs.SkipDir
		}
		return err
	})
}

// read parses the files of the package.
func (p *pkg) read() error {
	names, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		inModule := filepath.ToSlash(filepath.Join(p.path, filepath.Base(name)))
		syntax, err := parser.ParseFile(positions, inModule, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		p.files = append(p.files, file{
			name:   inModule,
			test:   strings.HasSuffix(name, "_test.go"),
			lines:  bytes.Count(source, []byte("\n")),
			syntax: syntax,
		})
	}
	return nil
}

// goList runs go list -json at the root of the module, as on the system.
func goList(system string, args ...string) ([]*pkg, error) {
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Dir,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(stderr.String()))
	}
	var listed []*pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := decoder.Decode(p); errors.Is(err, io.EOF) {
			return listed, nil
		} else if err != nil {
			return nil, err
		}
		listed = append(listed, p)
	}
}
