package readme

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	// The program is built by another process, which go test does not see:
	// without this import, a result from its cache would hide that afar changed.
	_ "github.com/afar-go/afar"
)

// TestProgram takes the program from the README word for word, builds it in a
// module of its own, runs it, and compares what it prints.
func TestProgram(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	program, rest := block(string(readme), "go\npackage main\n")
	want, _ := block(rest, "text\n")
	if program == "" || want == "" {
		t.Fatal("README.md has no program, or not what it prints")
	}

	dir := t.TempDir()
	copyFile(t, filepath.Join(dir, "go.mod"), filepath.Join(root, "go.mod"))
	copyFile(t, filepath.Join(dir, "go.sum"), filepath.Join(root, "go.sum"))
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n"+program), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "go", "mod", "edit", "-module=example.com/hello",
		"-require=github.com/afar-go/afar@v0.0.0", "-replace=github.com/afar-go/afar="+root)
	run(t, dir, "go", "vet", ".")
	if got := run(t, dir, "go", "run", "."); got != want {
		t.Errorf("the program in README.md printed\n%s\nnot\n%s", got, want)
	}
}

// block returns the first fenced block that starts so, without that start, and
// what stands after it.
func block(markdown, start string) (inside, rest string) {
	_, after, _ := strings.Cut(markdown, "\n```"+start)
	inside, rest, _ = strings.Cut(after, "```\n")
	return inside, rest
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs a command to its end, and returns what it printed.
func run(t *testing.T, dir string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}
