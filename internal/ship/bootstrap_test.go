//go:build unix

package ship

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A cold start uploads, and a warm one does not; both leave nothing but the image in the cache.
func TestBootstrap(t *testing.T) {
	inShells(t, func(t *testing.T, shell []string) {
		image, dir := program(t, 100_000), t.TempDir()
		for _, cached := range []bool{false, true} {
			f := start(t, shell, home(dir))
			arrival, used := bootstrap(t, f, image)
			if arrival.Cached != cached || arrival.System != image.System() || arrival.Image != image {
				t.Errorf("%+v", arrival)
			}
			want := filepath.Join(dir, ".cache", "afar", "images")
			if used != want {
				t.Errorf("in %s, want %s", used, want)
			}
			if got := names(t, want); !slices.Equal(got, []string{image.Hash(), "probe"}) {
				t.Errorf("the cache has %q", got)
			}
			if info, err := os.Stat(want); err != nil || info.Mode().Perm() != 0o700 {
				t.Error(info, err)
			}
			f.wait()
			if f.stderr.Len() > 0 {
				t.Errorf("standard error: %s", &f.stderr)
			}
		}
	})
}

// A shell may greet before it reads, with and without a line end.
func TestNoise(t *testing.T) {
	inShells(t, func(t *testing.T, shell []string) {
		greeting := strings.Repeat("Welcome! \x1b[1m", 20_000)
		f := start(t, append([]string{"/bin/sh", "-c", `printf 'motd\nAFAR1 x hello\n%s' "$GREETING"; exec "$@"`, "sh"}, shell...),
			home(t.TempDir(), "GREETING="+greeting[:100_000]))
		bootstrap(t, f, program(t, 0))
	})
}

// Where the image goes, by the environment.
func TestDirectory(t *testing.T) {
	inShells(t, func(t *testing.T, shell []string) {
		dir := filepath.Join(t.TempDir(), `it's a "nice" $HOME; \n *`)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Chdir(dir)
		path := "PATH=" + os.Getenv("PATH")
		for name, test := range map[string]struct {
			env  []string
			want string // of the cache; "" is a temporary one in dir
		}{
			"home":          {[]string{path, "HOME=" + dir}, dir + "/.cache/afar/images"},
			"XDG":           {[]string{path, "HOME=/nonexistent", "XDG_CACHE_HOME=" + dir + "/x y/z"}, dir + "/x y/z/afar/images"},
			"relative XDG":  {[]string{path, "HOME=" + dir, "XDG_CACHE_HOME=x"}, dir + "/.cache/afar/images"},
			"no XDG":        {[]string{path, "HOME=" + dir, "XDG_CACHE_HOME=/dev/null/x"}, dir + "/.afar/images"},
			"no home":       {[]string{path, "TMPDIR=" + dir}, ""},
			"empty home":    {[]string{path, "HOME=", "TMPDIR=" + dir}, ""},
			"missing home":  {[]string{path, "HOME=" + dir + "/missing", "TMPDIR=" + dir}, ""},
			"relative home": {[]string{path, "HOME=.", "TMPDIR=" + dir}, ""},
		} {
			t.Run(name, func(t *testing.T) {
				f := start(t, shell, test.env)
				_, used := bootstrap(t, f, program(t, 0))
				if test.want != "" {
					if used != test.want {
						t.Errorf("in %s, want %s", used, test.want)
					}
					return
				}
				nonce, _ := strings.CutPrefix(filepath.Base(used), "afar-")
				if filepath.Dir(used) != dir || len(nonce) != 32 || !Temporary(used, nonce) || Temporary(used, "x") {
					t.Errorf("in %s", used)
				}
				if info, err := os.Stat(used); err != nil || info.Mode().Perm() != 0o700 {
					t.Error(info, err)
				}
			})
		}
		if _, err := os.Stat(dir + "/missing"); err == nil {
			t.Error("a home was made")
		}
	})
}

// A cache that somebody else could write to is not used, nor what was not executed from a place that is ours.
func TestForeignDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, "only root can give a directory to somebody else")
	}
	inShells(t, func(t *testing.T, shell []string) {
		image, dir := program(t, 0), t.TempDir()
		foreign := filepath.Join(dir, ".cache/afar/images")
		if err := os.MkdirAll(foreign, 0o777); err != nil {
			t.Fatal(err)
		}
		evil := []byte("#!/bin/sh\necho evil\n")
		if err := os.WriteFile(filepath.Join(foreign, image.Hash()), append(evil, make([]byte, image.Size()-int64(len(evil)))...), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(foreign, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		arrival, used := bootstrap(t, start(t, shell, home(dir)), image)
		if used != filepath.Join(dir, ".afar/images") || arrival.Cached {
			t.Errorf("in %s, cached %v", used, arrival.Cached)
		}
	})
}

// applets makes a directory with some of busybox' programs, and nothing else.
func applets(t *testing.T, names ...string) string {
	t.Helper()
	path := shellOf(t, "busybox")[0]
	dir := t.TempDir()
	for _, name := range names {
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What the far side must have is little.
func TestFewTools(t *testing.T) {
	image := program(t, 300_000)
	for name, tools := range map[string][]string{
		"gzip":          {"uname", "mkdir", "head", "gzip", "chmod", "mv", "rm"},
		"gzip, hash":    {"uname", "mkdir", "head", "gzip", "chmod", "mv", "sha256sum"},
		"hash":          {"uname", "mkdir", "head", "chmod", "mv", "rm", "sha256sum"},
		"nothing":       {"uname", "mkdir", "head", "chmod", "mv", "rm"},
		"not even rm":   {"uname", "mkdir", "head", "chmod", "mv"},
		"broken hasher": {"uname", "mkdir", "head", "chmod", "mv", "shasum", "openssl"},
	} {
		t.Run(name, func(t *testing.T) {
			bin := applets(t, tools...)
			inShells(t, func(t *testing.T, shell []string) {
				dir := t.TempDir()
				for _, cached := range []bool{false, true} {
					arrival, _ := bootstrap(t, start(t, shell, home(dir, "PATH="+bin)), image)
					if arrival.Cached != cached {
						t.Errorf("cached: %v, want %v", arrival.Cached, cached)
					}
				}
				for _, left := range names(t, filepath.Join(dir, ".cache/afar/images")) {
					if left != image.Hash() && left != "probe" && (slices.Contains(tools, "rm") || !unfinished(left)) {
						t.Errorf("%s was left behind", left)
					}
				}
			})
		})
	}
}

// Each way to fail has its stage, and the error says what the far side printed.
func TestErrors(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "uname")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho Plan9 pdp11\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	sh := []string{"/bin/sh"}
	image, env := program(t, 0), home(t.TempDir())
	for name, test := range map[string]struct {
		argv, env []string
		choose    func(context.Context, string) (*Image, error)
		stage     Stage
		texts     []string
	}{
		"no shell":  {[]string{"/bin/sh", "-c", "echo this account is closed; exit 1"}, env, nil, StageNoShell, []string{"account is closed"}},
		"echo":      {[]string{"/bin/sh", "-c", "head -c 100"}, env, nil, StageNoShell, nil},
		"talkative": {[]string{"/bin/sh", "-c", "yes"}, env, nil, StageNoShell, []string{"1 MiB"}},
		"system":    {sh, append(env, "PATH="+filepath.Dir(fake)+":"+os.Getenv("PATH")), nil, StageUnknownSystem, []string{"Plan9 pdp11"}},
		"no image": {sh, env, func(context.Context, string) (*Image, error) { return nil, io.ErrNoProgress },
			StageNoProgram, []string{image.System(), io.ErrNoProgress.Error()}},
		"nil image": {sh, env, func(context.Context, string) (*Image, error) { return nil, nil }, StageNoProgram, nil},
		"no Main":   {sh, append(env, "SILENT=1"), nil, StageStart, []string{"afar.Main() is not the first line of main", "I am an ordinary program"}},
		"no directory": {sh, append(applessEnv(t), "HOME=/proc/1/x", "TMPDIR=/proc/1/x"), nil, StageNoDirectory,
			[]string{image.System()}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.choose == nil {
				test.choose = give(image)
			}
			_, err := Bootstrap(within(t), start(t, test.argv, test.env), 0, test.choose)
			wantError(t, err, test.stage, test.texts...)
		})
	}
}

// applessEnv is an environment where no directory can be made.
func applessEnv(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"uname", "head", "gzip", "chmod", "mv"} {
		path, err := exec.LookPath(name)
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return []string{"PATH=" + dir}
}

// An error of choose that is one of ours is not wrapped again.
func TestChooseError(t *testing.T) {
	mine := &Error{Stage: StageNoProgram, System: "linux/x", Err: io.ErrNoProgress}
	_, err := Bootstrap(within(t), start(t, []string{"/bin/sh"}, home(t.TempDir())), 0,
		func(context.Context, string) (*Image, error) { return nil, mine })
	if err != error(mine) {
		t.Error(err)
	}
}

// A program that cannot be executed is told apart from one that does not serve.
func TestCannotExecute(t *testing.T) {
	inShells(t, func(t *testing.T, shell []string) {
		dir, path := t.TempDir(), filepath.Join(t.TempDir(), "program")
		script := []byte("#!/nonexistent/interpreter\n")
		if err := os.WriteFile(path, script, 0o700); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		image := &Image{file: file, size: int64(len(script)), hash: hashOf(script), system: program(t, 0).System()}
		_, err = Bootstrap(within(t), start(t, shell, home(dir)), 0, give(image))
		wantError(t, err, StageStart, "cannot be executed")
	})
}

// The end of the context ends Bootstrap whatever the far side does, and closing the link ends what it left behind.
func TestContext(t *testing.T) {
	for name, script := range map[string]string{"silent": "sleep 1000", "unread": "echo noise; sleep 1000"} {
		t.Run(name, func(t *testing.T) {
			f := start(t, []string{"/bin/sh", "-c", script}, home(t.TempDir()))
			ctx, cancel := context.WithCancelCause(context.Background())
			cause := errors.New("enough")
			go cancel(cause)
			_, err := Bootstrap(ctx, f, 0, give(program(t, 0)))
			if wantError(t, err, StageNoShell); !errors.Is(err, cause) {
				t.Error(err)
			}
		})
	}
}

// What is in the cache by the image's name and does not start is an error that says so, and Renew replaces it.
func TestRenew(t *testing.T) {
	damages := map[string]func(path string) error{
		"another program": func(path string) error { return os.WriteFile(path, []byte("#!/bin/sh\nexit 3\n"), 0o700) },
		"no program":      func(path string) error { return os.WriteFile(path, make([]byte, 100), 0o700) },
		"empty":           func(path string) error { return os.Truncate(path, 0) },
		"a directory":     func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	}
	inShells(t, func(t *testing.T, shell []string) {
		image := program(t, 0)
		for name, damage := range damages {
			base := t.TempDir()
			_, dir := bootstrap(t, start(t, shell, home(base)), image)
			path := filepath.Join(dir, image.Hash())
			if err := errors.Join(os.WriteFile(path+ranSuffix, []byte("it has run"), 0o600), damage(path)); err != nil {
				t.Fatal(err)
			}
			f := start(t, shell, home(base))
			a, err := Bootstrap(within(t), f, 0, give(image))
			if err != nil {
				if e, ok := errors.AsType[*Error](err); !ok || !e.Cached {
					t.Fatalf("%s: it failed otherwise: %v", name, err)
				}
				f = start(t, shell, home(base))
				if a, err = Renew(within(t), f, 0, give(image)); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			serves(t, f, a)
			if a.Cached {
				t.Errorf("%s: it was taken from the cache", name)
			}
			if there, err := File(path, ""); err != nil || there.Hash() != image.Hash() {
				t.Errorf("%s: there is another image now: %v", name, err)
			}
		}
	})
}
