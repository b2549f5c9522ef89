//go:build unix

package ship

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

const host = runtime.GOOS + "/" + runtime.GOARCH

// A module is the source of a program that a test builds.
type module struct{ dir string }

// newModule writes a program that prints what its flags made of it, and a test that does the same.
func newModule(t *testing.T) *module {
	t.Helper()
	m := &module{t.TempDir()}
	for name, text := range map[string]string{
		"go.mod":             "module example.com/program\n\ngo 1.26\n",
		"cmd/p/main.go":      "package main\n\nvar linked, tagged string\n\nfunc main() { println(linked + tagged) }\n",
		"cmd/p/tagged.go":    "//go:build special\n\npackage main\n\nfunc init() { tagged = \" tagged\" }\n",
		"cmd/p/main_test.go": "package main\n\nimport \"testing\"\n\nfunc TestMain(*testing.M) { println(\"test\" + tagged) }\n",
	} {
		path := filepath.Join(m.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// Sources are older than what is made of them, by more than a clock's tick.
		past := time.Now().Add(-time.Minute)
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *module) mainFile() string { return filepath.Join(m.dir, "cmd/p/main.go") }

// source builds the program in cmd/p, makes it look dynamically linked, and returns its source, as if it ran.
func (m *module) source(t *testing.T, mainFile string, prebuilt map[string]string, args ...string) *Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", append([]string{args[0], "-o", path}, args[1:]...)...)
	cmd.Dir = filepath.Join(m.dir, "cmd/p")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	makeDynamic(t, path)
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exe.Close() })
	s := Own(exe, mainFile, prebuilt)
	s.info = func() (*debug.BuildInfo, bool) { return info, true }
	return s
}

// makeDynamic turns a program's note into the name of an interpreter.
func makeDynamic(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(data[:5]) != "\x7fELF\x02" {
		t.Skip("only 64-bit ELF files can be changed here")
	}
	at := binary.LittleEndian.Uint64(data[32:])
	for ; binary.LittleEndian.Uint32(data[at:]) != 4; at += 56 {
	}
	data[at] = interpreterSegment
	if err := os.WriteFile(path, data, 0o700); err != nil {
		t.Fatal(err)
	}
}

// run executes an image, and returns what it prints to its standard error.
func run(t *testing.T, image *Image) string {
	t.Helper()
	store, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := image.Open()
	if err == nil {
		err = store.Put(t.Context(), image.Hash(), r, image.Size())
	}
	if err != nil {
		t.Fatal(err)
	}
	path, _ := store.Path(image.Hash())
	out, err := exec.Command(path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// A static program is its own image for its own system.
func TestOwn(t *testing.T) {
	exe, err := os.Open(testProgram)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	if _, err := exe.Seek(100, 0); err != nil {
		t.Fatal(err)
	}
	s := Own(exe, "", nil)
	image, err := s.For(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.For(t.Context(), host); again != image || err != nil {
		t.Error("another image", err)
	}
	if data, err := os.ReadFile(testProgram); err != nil || image.Hash() != hashOf(data) {
		t.Error("another hash", err)
	}
	if at, err := exe.Seek(0, 1); at != 100 || err != nil {
		t.Error("the offset was changed", at, err)
	}
}

// A program that needs a dynamic linker is built again, as it was built, whatever it was built from.
func TestRebuild(t *testing.T) {
	m := newModule(t)
	flags := []string{"-tags=special", "-ldflags=-X main.linked=linked"}
	for name, test := range map[string]struct {
		mainFile, dir, want string
		args                []string
	}{
		"package":  {m.mainFile(), "/", "linked tagged", append([]string{"build"}, flags...)},
		"files":    {m.mainFile(), "/", "linked", append([]string{"build"}, append(flags, "main.go")...)},
		"trimpath": {"example.com/program/cmd/p/main.go", m.dir, "tagged", append([]string{"build", "-trimpath"}, flags...)},
		"test":     {"_testmain.go", m.dir, "test tagged", append([]string{"test", "-c"}, flags...)},
	} {
		t.Run(name, func(t *testing.T) {
			s := m.source(t, test.mainFile, nil, test.args...)
			t.Chdir(test.dir)
			images := make([]*Image, 5)
			var group sync.WaitGroup
			for i := range images {
				group.Go(func() {
					var err error
					if images[i], err = s.For(t.Context(), host); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			if t.Failed() {
				return
			}
			for _, image := range images {
				if image != images[0] || !image.portable || image.System() != host {
					t.Errorf("%+v", image)
				}
			}
			if got := run(t, images[0]); got != test.want {
				t.Errorf("it prints %q, want %q", got, test.want)
			}
			t.Setenv("PATH", "/nonexistent")
			if image, err := s.again().For(t.Context(), host); err != nil || image.Hash() != images[0].Hash() {
				t.Error("it was not kept:", err)
			}
		})
	}
}

// again is a source of the same program in another process.
func (s *Source) again() *Source {
	again := Own(s.exe, s.mainFile, s.prebuilt)
	again.info = s.info
	return again
}

// What was built and has been damaged in the cache since is built again.
func TestBuiltDamaged(t *testing.T) {
	m := newModule(t)
	s := m.source(t, m.mainFile(), nil, "build", "-ldflags=-X main.linked=greet")
	image, err := s.For(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	own, err := s.own()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(string(userCache(buildCache)), own.Hash()+"-"+strings.ReplaceAll(host, "/", "-"))
	for name, damage := range map[string]func() error{
		"another program": func() error {
			data, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(data, []byte("greet")) {
				return errors.Join(errors.New("it does not say greet"), err)
			}
			return os.WriteFile(path, bytes.ReplaceAll(data, []byte("greet"), []byte("curse")), 0o700)
		},
		"truncated": func() error { return os.Truncate(path, image.Size()/2) },
		"empty":     func() error { return os.Truncate(path, 0) },
		"sum":       func() error { return overwrite(path+sumSuffix, 3, 3) },
		"no sum":    func() error { return os.Remove(path + sumSuffix) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			image, err := s.again().For(t.Context(), host)
			if err != nil {
				t.Fatal(err)
			}
			if got := run(t, image); got != "greet" {
				t.Errorf("it prints %q", got)
			}
			t.Setenv("PATH", "/nonexistent")
			if again, err := s.again().For(t.Context(), host); err != nil || again.Hash() != image.Hash() {
				t.Error("it was not kept:", err)
			}
		})
	}
}

// Without its source, or with another one, a program is not built; the error says what to do.
func TestRefused(t *testing.T) {
	m := newModule(t)
	command := "CGO_ENABLED=0 GOOS=" + runtime.GOOS + " GOARCH=" + runtime.GOARCH + " go build -o " +
		filepath.Join(os.TempDir(), "program-"+runtime.GOOS+"-"+runtime.GOARCH)
	refused := func(t *testing.T, s *Source, texts ...string) {
		t.Helper()
		_, err := s.For(t.Context(), host)
		wantError(t, err, StageNoProgram, append(texts, host, "afar.Config.Images")...)
	}
	t.Run("changed", func(t *testing.T) {
		s := m.source(t, m.mainFile(), nil, "build", "-tags=special")
		future := time.Now().Add(time.Minute)
		if err := os.Chtimes(filepath.Join(m.dir, "cmd/p/tagged.go"), future, future); err != nil {
			t.Fatal(err)
		}
		refused(t, s, "source changed since this program was built", "tagged.go",
			"cd "+filepath.Join(m.dir, "cmd/p")+" && "+command+" -tags=special example.com/program/cmd/p")
	})
	t.Run("no source", func(t *testing.T) {
		t.Chdir("/")
		refused(t, m.source(t, "/nonexistent/main.go", nil, "build", "-ldflags=-X main.linked=odd"),
			"source was not found", command+" '-ldflags=-X main.linked=odd' example.com/program/cmd/p")
	})
	t.Run("no go", func(t *testing.T) {
		s := m.source(t, m.mainFile(), nil, "build", "-ldflags=-X main.linked=x")
		t.Setenv("PATH", "/nonexistent")
		refused(t, s, "executable file not found")
	})
	t.Run("does not compile", func(t *testing.T) {
		s := m.source(t, m.mainFile(), nil, "build", "-ldflags=-X main.linked=y")
		if err := os.WriteFile(m.mainFile(), []byte("package main\n\nfunc main() { nonsense() }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(m.mainFile(), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		refused(t, s, "undefined: nonsense")
	})
	m = newModule(t)
	t.Run("unknown", func(t *testing.T) {
		s := m.source(t, "", nil, "build", "-trimpath", "main.go")
		refused(t, s, "list of files")
		s.info = func() (*debug.BuildInfo, bool) { return nil, false }
		s.slots = map[string]*slot{}
		refused(t, s, "does not know how it was built")
	})
	t.Run("no executable", func(t *testing.T) {
		refused(t, Own(nil, "", nil), "running executable")
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := m.source(t, m.mainFile(), nil, "build").For(ctx, host)
		if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "go build") {
			t.Error(err)
		}
	})
}

// What the user hands over is taken if it is for that system and needs no dynamic linker.
func TestPrebuilt(t *testing.T) {
	exe, err := os.Open(testProgram)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	const system = "linux/s390x"
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	machine := elfMachine{22, true, true}
	good := write("good", elf(machine, 0, 1))
	for path, text := range map[string]string{
		good:                                 "",
		write("dynamic", elf(machine, 0, 3)): "dynamically linked",
		testProgram:                          "not for linux/s390x",
		write("text", []byte("text")):        "not an executable",
		filepath.Join(dir, "missing"):        "no such file",
	} {
		image, err := Own(exe, "", map[string]string{system: path}).For(t.Context(), system)
		if text != "" {
			wantError(t, err, StageNoProgram, text, path)
		} else if err != nil || image.System() != system {
			t.Error(image, err)
		}
	}
}

// Build builds any main package.
func TestBuild(t *testing.T) {
	m := newModule(t)
	for _, pkg := range []string{"./cmd/p", "example.com/program/cmd/p"} {
		image, err := Build(t.Context(), m.dir, pkg, host, BuildFlags{Tags: "special", LDFlags: "-s -w -X main.linked=built", Trimpath: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := run(t, image); got != "built tagged" || !image.portable {
			t.Errorf("it prints %q", got)
		}
		if _, err := os.Stat(filepath.Join(string(userCache(buildCache)), image.Hash())); err != nil {
			t.Error(err)
		}
	}
	_, err := Build(t.Context(), m.dir, "./cmd/missing", host, BuildFlags{})
	wantError(t, err, StageNoProgram, "cmd/missing")
	_, err = Build(t.Context(), m.dir, "fmt", host, BuildFlags{})
	wantError(t, err, StageNoProgram, "not a main package")
	_, err = Build(t.Context(), m.dir, "./cmd/p", "-x/../y", BuildFlags{})
	wantError(t, err, StageUnknownSystem)
	_, err = Build(t.Context(), m.dir, "", host, BuildFlags{})
	wantError(t, err, StageNoProgram)
}
