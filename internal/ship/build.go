package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// BuildFlags are flags of `go build`, as the go command records them in a program. The zero value is a plain build.
type BuildFlags struct {
	Tags       string // -tags, separated by commas
	LDFlags    string // -ldflags
	GCFlags    string // -gcflags
	AsmFlags   string // -asmflags
	Trimpath   bool   // -trimpath
	Experiment string // the variable GOEXPERIMENT
}

// Build builds a main package for a system, without cgo, as `go build` run in dir does it. pkg is an import path, a
// relative path or a list of files, separated by spaces; "" is the package in dir. The result is kept in the user's
// cache directory, and what is compiled in Go's own cache. An error of the go command is an [*Error] with its output.
func Build(ctx context.Context, dir, pkg, system string, flags BuildFlags) (*Image, error) {
	b := &build{dir: dir, packages: strings.Fields(pkg), system: system, flags: flags}
	if len(b.packages) == 0 {
		b.packages = []string{"."}
	}
	return b.run(ctx, func(i *Image) string { return i.Hash() })
}

// A build is one run of the go command.
type build struct {
	dir      string // "" is the current one
	packages []string
	test     bool // a test binary
	system   string
	flags    BuildFlags
}

// run builds, and keeps the result by a name in the cache.
func (b *build) run(ctx context.Context, name func(*Image) string) (*Image, error) {
	if _, _, ok := splitSystem(b.system); !ok {
		return nil, &Error{Stage: StageUnknownSystem, System: b.system, Err: errors.New("a system looks like linux/amd64")}
	}
	cache := userCache(buildCache)
	parent := string(cache) // The directory for temporary files if there is no cache.
	dir, err := os.MkdirTemp(parent, partPrefix)
	if err != nil {
		return nil, noProgram(b.system, err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "program")
	if _, err := b.goCommand(ctx, b.arguments(path)...); err != nil {
		return nil, noProgram(b.system, err)
	}
	image, err := File(path, b.system)
	if err != nil && isArchive(path) {
		err = errors.New("it is not a main package")
	}
	if err != nil {
		return nil, noProgram(b.system, err)
	}
	if cache != "" {
		_ = cache.tidy()
		// The image has the file open: if it cannot be renamed, it is only not there the next time.
		if os.Rename(path, filepath.Join(string(cache), name(image))) == nil {
			cache.say(name(image), image.hash)
		}
	}
	return image, nil
}

// built returns what was built before by a name, if it still is what was built.
func built(name, system string) (*Image, error) {
	cache := userCache(buildCache)
	file, err := cache.open(name)
	if err != nil {
		return nil, err
	}
	image, err := newImage(file, system)
	var sum string
	if err == nil {
		sum, err = cache.said(name, "")
	}
	if err == nil && image.hash != sum {
		err = errDamaged
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return image, nil
}

// isArchive tells whether a file is what the go command makes of a package without a main function.
func isArchive(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	magic := make([]byte, 8)
	_, err = io.ReadFull(file, magic)
	return err == nil && string(magic) == "!<arch>\n"
}

// arguments are those of the go command.
func (b *build) arguments(output string) []string {
	args := []string{"build", "-o", output}
	if b.test {
		args = []string{"test", "-c", "-o", output}
	}
	return append(append(args, b.flags.arguments()...), b.packages...)
}

func (f BuildFlags) arguments() []string {
	var args []string
	for _, flag := range [][2]string{{"-tags", f.Tags}, {"-ldflags", f.LDFlags}, {"-gcflags", f.GCFlags}, {"-asmflags", f.AsmFlags}} {
		if flag[1] != "" {
			args = append(args, flag[0]+"="+flag[1])
		}
	}
	if f.Trimpath {
		args = append(args, "-trimpath")
	}
	return args
}

// variables are those that make the go command build for the system.
func (b *build) variables() []string {
	goos, goarch, _ := splitSystem(b.system)
	variables := []string{"CGO_ENABLED=0", "GOOS=" + goos, "GOARCH=" + goarch}
	if goarch == "arm" && os.Getenv("GOARM") == "" {
		variables = append(variables, "GOARM=6") // It runs on the later ones, too.
	}
	if b.flags.Experiment != "" {
		variables = append(variables, "GOEXPERIMENT="+b.flags.Experiment)
	}
	return variables
}

// goCommand runs the go command and returns what it printed to its standard output.
func (b *build) goCommand(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), b.variables()...)
	cmd.WaitDelay = 5 * time.Second // A compiler that outlives the killed go command has its standard error.
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", &commandError{fmt.Errorf("go %s: %w", args[0], err), lastLines(stderr.String())}
	}
	return stdout.String(), nil
}

// A commandError is a command that failed, and the last lines that it printed.
type commandError struct {
	err    error
	output string
}

func (e *commandError) Error() string { return e.err.Error() }
func (e *commandError) Unwrap() error { return e.err }

// noProgram makes the error of what a build failed of.
func noProgram(system string, err error) *Error {
	e := &Error{Stage: StageNoProgram, System: system, Err: err}
	if command, ok := errors.AsType[*commandError](err); ok {
		e.Output = command.output
	}
	return e
}

// command is what a user types to do the same.
func (b *build) command() string {
	var words []string
	if b.dir != "" {
		words = append(words, "cd", quote(b.dir), "&&")
	}
	for _, variable := range b.variables() {
		words = append(words, quote(variable))
	}
	words = append(words, "go")
	for _, arg := range b.arguments(b.output()) {
		words = append(words, quote(arg))
	}
	return strings.Join(words, " ")
}

// output is the path of the program that command makes.
func (b *build) output() string {
	return filepath.Join(os.TempDir(), "program-"+strings.ReplaceAll(b.system, "/", "-"))
}

// quote makes one word of a shell's command line.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("%+,-./:=@_", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
