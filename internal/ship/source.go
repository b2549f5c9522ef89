package ship

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// A Source finds the image of the running program for a system. It may be used concurrently.
type Source struct {
	mainFile string
	prebuilt map[string]string
	exe      *os.File
	own      func() (*Image, error)
	info     func() (*debug.BuildInfo, bool)

	mu    sync.Mutex
	slots map[string]*slot
}

// A slot holds the image for one system.
type slot struct {
	turn  chan struct{} // holds a token while somebody looks for the image; guards it
	image *Image
}

// Own returns the source of the running program. exe is its executable, opened when it started; it stays open for as
// long as the source is used, and its offset is neither used nor changed. nil means that it could not be opened.
// mainFile is the source file that main.main is in, as the runtime knows it ("_testmain.go" for a test), "" if it is not
// known. prebuilt are paths
// of executables of the same program, by their system ("linux/arm64").
func Own(exe *os.File, mainFile string, prebuilt map[string]string) *Source {
	return &Source{
		mainFile: mainFile,
		prebuilt: maps.Clone(prebuilt),
		exe:      exe,
		own: sync.OnceValues(func() (*Image, error) {
			if exe == nil {
				return nil, errors.New("the running executable could not be opened")
			}
			return newImage(exe, runtime.GOOS+"/"+runtime.GOARCH)
		}),
		info:  debug.ReadBuildInfo,
		slots: map[string]*slot{},
	}
}

// For returns the image for a system: the running executable if it is for that system and needs no dynamic linker, a
// prebuilt one, or one that is built from the program's source, without cgo, if it has not changed since. What was
// found or built is kept; calls for one system wait for each other, and build once.
//
// If there is none, the error is an [*Error] of stage [StageNoProgram] that gives the command to run.
func (s *Source) For(ctx context.Context, system string) (*Image, error) {
	s.mu.Lock()
	found := s.slots[system]
	if found == nil {
		found = &slot{turn: make(chan struct{}, 1)}
		s.slots[system] = found
	}
	s.mu.Unlock()
	select {
	case found.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, noProgram(system, context.Cause(ctx))
	}
	defer func() { <-found.turn }()
	if found.image != nil {
		return found.image, nil
	}
	image, err := s.find(ctx, system)
	if err == nil {
		found.image = image
	}
	return image, err
}

func (s *Source) find(ctx context.Context, system string) (*Image, error) {
	own, ownErr := s.own()
	if ownErr == nil && own.system == system && own.portable {
		return own, nil
	}
	if path, ok := s.prebuilt[system]; ok {
		image, err := File(path, system)
		if err == nil && !image.portable {
			err = fmt.Errorf("%s is dynamically linked: build it with CGO_ENABLED=0", path)
		}
		if err != nil {
			return nil, &Error{Stage: StageNoProgram, System: system, Err: fmt.Errorf("afar.Config.Images: %w", err)}
		}
		return image, nil
	}
	image, b, err := s.make(ctx, own, ownErr, system)
	if err != nil && ownErr == nil && own.system == system && ctx.Err() == nil {
		// It is the right one, but for the way it was linked.
		err = fmt.Errorf("the running program is linked dynamically (by cgo, which package net uses where there is a C compiler), so it may not run elsewhere; "+
			"building it with CGO_ENABLED=0 in the first place helps; another build for this purpose: %w", err)
	}
	if err != nil {
		return nil, s.refuse(b, err)
	}
	return image, nil
}

// make builds an image, if it has not been built yet.
func (s *Source) make(ctx context.Context, own *Image, ownErr error, system string) (*Image, *build, error) {
	b, err := s.plan(system)
	if err == nil {
		err = ownErr // Without it nobody knows whether the source has changed.
	}
	if err != nil {
		return nil, b, err
	}
	name := own.Hash() + "-" + strings.ReplaceAll(system, "/", "-")
	if image, err := built(name, system); err == nil {
		return image, b, nil
	}
	if err := s.locate(ctx, b); err != nil {
		return nil, b, err
	}
	image, err := b.run(ctx, func(*Image) string { return name })
	if failed, ok := errors.AsType[*Error](err); ok {
		err = failed.Err
	}
	return image, b, err
}

// testMain is the file that main.main of a test is in.
const testMain = "_testmain.go"

// plan says how the running program was built.
func (s *Source) plan(system string) (*build, error) {
	b := &build{system: system, packages: []string{"PACKAGE"}}
	info, ok := s.info()
	if !ok || info.Path == "" {
		return b, errors.New("the running program does not know how it was built")
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "-tags":
			b.flags.Tags = setting.Value
		case "-ldflags":
			b.flags.LDFlags = setting.Value
		case "-gcflags":
			b.flags.GCFlags = setting.Value
		case "-asmflags":
			b.flags.AsmFlags = setting.Value
		case "-trimpath":
			b.flags.Trimpath = setting.Value == "true"
		case "GOEXPERIMENT":
			b.flags.Experiment = setting.Value
		}
	}
	if filepath.IsAbs(s.mainFile) {
		b.dir = filepath.Dir(s.mainFile)
	}
	path, test := strings.CutSuffix(info.Path, ".test")
	// The test of a main package has that package's path, and is known by the file that the go command made for it.
	test = test || filepath.Base(s.mainFile) == testMain
	b.packages, b.test = []string{path}, test
	if path == "command-line-arguments" {
		if b.dir == "" || test {
			return b, errors.New("it was built from a list of files, which are not known")
		}
		b.packages = []string{filepath.Base(s.mainFile)}
	}
	return b, nil
}

// locate checks that the source is there and is that of the running program.
func (s *Source) locate(ctx context.Context, b *build) error {
	if b.dir == "" || !isDir(b.dir) {
		// With -trimpath a program does not know where it was built: perhaps here.
		b.dir = ""
		dir, err := b.goCommand(ctx, append([]string{"list", "-f", "{{.Dir}}"}, b.packages...)...)
		if err != nil {
			return fmt.Errorf("its source was not found: %w", err)
		}
		b.dir = strings.TrimSpace(dir)
	}
	changed, err := s.changed(ctx, b)
	if err != nil {
		return err
	}
	if changed != "" {
		return fmt.Errorf("source changed since this program was built: %s", changed)
	}
	return nil
}

// sourceFiles is a template for `go list` that prints a line for each package which is not somebody else's: its
// directory and its files, separated by tabs.
const sourceFiles = `{{if not .Standard}}{{$local := true}}{{with .Module}}{{$local = .Main}}{{with .Replace}}{{$local = not .Version}}{{end}}{{end}}` +
	`{{if $local}}{{.Dir}}{{range .GoFiles}}{{"\t"}}{{.}}{{end}}{{range .EmbedFiles}}{{"\t"}}{{.}}{{end}}` +
	`{{range .SFiles}}{{"\t"}}{{.}}{{end}}{{range .HFiles}}{{"\t"}}{{.}}{{end}}` + "\n{{end}}{{end}}"

// changed returns a source file that is newer than the running executable, or "".
func (s *Source) changed(ctx context.Context, b *build) (string, error) {
	executable, err := s.exe.Stat()
	if err != nil {
		return "", err
	}
	args := []string{"list", "-deps", "-f", sourceFiles}
	if b.test {
		args = append(args, "-test")
	}
	if b.flags.Tags != "" {
		args = append(args, "-tags="+b.flags.Tags)
	}
	listed, err := b.goCommand(ctx, append(args, b.packages...)...)
	if err != nil {
		return "", fmt.Errorf("its source was not found: %w", err)
	}
	for line := range strings.Lines(listed) {
		dir, files, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		for name := range strings.SplitSeq(files, "\t") {
			// What the go command has made itself, as a test's main, is in its cache: the path is absolute.
			path := filepath.Join(dir, name)
			if !filepath.IsAbs(name) && newer(path, executable.ModTime()) {
				return path, nil
			}
		}
	}
	return "", nil
}

// refuse makes the error that tells what to do.
func (s *Source) refuse(b *build, reason error) error {
	if errors.Is(reason, context.Canceled) || errors.Is(reason, context.DeadlineExceeded) {
		return noProgram(b.system, reason)
	}
	return noProgram(b.system, fmt.Errorf("it cannot be made here: %w; run\n\t%s\nand give the result to afar.Config.Images: {%q: %q}",
		reason, b.command(), b.system, b.output()))
}

func newer(path string, than time.Time) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.ModTime().After(than)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
