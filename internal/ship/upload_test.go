//go:build unix

package ship

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// Of twenty at once with a cold cache exactly one uploads.
func TestManyAtOnce(t *testing.T) {
	image, dir := program(t, 3<<20), t.TempDir()
	var argv [][]string
	for _, name := range []string{"dash", "bash", "busybox"} {
		argv = append(argv, shellOf(t, name))
	}
	var uploads atomic.Int32
	var group sync.WaitGroup
	for i := range 20 {
		f := start(t, argv[i%len(argv)], home(dir))
		group.Go(func() {
			arrival, err := Bootstrap(within(t), f, 0, give(image))
			if err != nil {
				t.Error(err)
				return
			}
			if !arrival.Cached {
				uploads.Add(1)
			}
			serves(t, f, arrival)
		})
	}
	group.Wait()
	if n := uploads.Load(); n != 1 {
		t.Errorf("%d uploads", n)
	}
	onlyImage(t, dir, image)
}

// onlyImage checks that nothing else is in the cache, or nothing at all.
func onlyImage(t testing.TB, home string, image *Image) {
	t.Helper()
	want := []string{"probe"}
	if image != nil {
		want = []string{image.Hash(), "probe"}
	}
	if got := names(t, filepath.Join(home, ".cache/afar/images")); !slices.Equal(got, want) {
		t.Errorf("the cache has %q, want %q", got, want)
	}
}

// A gate is a link on which no more than some bytes are written before it opens.
type gate struct {
	*far
	left    int
	reached chan struct{} // closed when the gate stops the writer
	opened  chan struct{}
	once    sync.Once
}

func newGate(f *far, pass int) *gate {
	return &gate{far: f, left: pass, reached: make(chan struct{}), opened: make(chan struct{})}
}

func (g *gate) Write(p []byte) (int, error) {
	n := min(len(p), g.left)
	written, err := g.far.Write(p[:n])
	g.left -= written
	if err != nil || written == len(p) {
		return written, err
	}
	g.once.Do(func() { close(g.reached) })
	<-g.opened
	g.left = math.MaxInt
	rest, err := g.far.Write(p[written:])
	return written + rest, err
}

// halfWay starts an upload that stops in the middle. The function that it returns waits for its end.
func halfWay(t *testing.T, f *far, image *Image) (*gate, func() (*Arrival, error)) {
	t.Helper()
	g := newGate(f, len(script(""))+1<<20)
	var arrival *Arrival
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		arrival, err = Bootstrap(within(t), g, 0, give(image))
	}()
	select {
	case <-g.reached:
	case <-ended:
		t.Fatal("it ended before it was half way:", err)
	}
	return g, func() (*Arrival, error) {
		<-ended
		return arrival, err
	}
}

// When an uploader is killed half way, another one takes over.
func TestKilledUploader(t *testing.T) {
	inShells(t, func(t *testing.T, shell []string) {
		image, dir := program(t, 3<<20), t.TempDir()
		f := start(t, shell, home(dir))
		g, ended := halfWay(t, f, image)
		if err := syscall.Kill(f.cmd.Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = f.in.Close()
		close(g.opened)
		if _, err := ended(); err == nil {
			t.Error("the killed one arrived")
		}
		f.wait()
		arrival, _ := bootstrap(t, start(t, shell, home(dir)), image)
		if arrival.Cached {
			t.Error("who uploaded it?")
		}
		onlyImage(t, dir, image)
	})
}

// When an uploader makes no progress, another one takes over, and the first one finds the image when it wakes up.
func TestStalledUploader(t *testing.T) {
	inShells(t, func(t *testing.T, shell []string) {
		image, dir := program(t, 3<<20), t.TempDir()
		slow := start(t, shell, home(dir))
		g, ended := halfWay(t, slow, image)
		next := start(t, shell, home(dir))
		s := newSession(next, 0, give(image))
		s.limits.stall = usualLimits.stall / 10
		arrival, err := s.bootstrap(within(t))
		if err != nil || arrival.Cached {
			t.Fatal(arrival, err)
		}
		serves(t, next, arrival)
		close(g.opened)
		arrival, err = ended()
		if err != nil || !arrival.Cached {
			t.Fatal(arrival, err)
		}
		if used := serves(t, slow, arrival); used != filepath.Join(dir, ".cache/afar/images") {
			t.Error("in", used)
		}
		onlyImage(t, dir, image)
	})
}

// An upload that is cut off leaves neither a file nor a lock, with and without tools that verify.
func TestTruncated(t *testing.T) {
	for name, tools := range map[string][]string{
		"all":     nil,
		"gzip":    {"uname", "mkdir", "head", "gzip", "chmod", "mv", "rm"},
		"nothing": {"uname", "mkdir", "head", "chmod", "mv", "rm"},
	} {
		t.Run(name, func(t *testing.T) {
			var bin []string
			if tools != nil {
				bin = []string{"PATH=" + applets(t, tools...)}
			}
			inShells(t, func(t *testing.T, shell []string) {
				image, dir := program(t, 3<<20), t.TempDir()
				f := start(t, shell, home(dir, bin...))
				g, ended := halfWay(t, f, image)
				_ = f.in.Close()
				close(g.opened)
				_, err := ended()
				wantError(t, err, StageUpload)
				f.wait()
				onlyImage(t, dir, nil)
			})
		})
	}
}

// A signal ends the far side as the end of the link does.
func TestHangup(t *testing.T) {
	inShells(t, func(t *testing.T, shell []string) {
		image, dir := program(t, 3<<20), t.TempDir()
		f := start(t, shell, home(dir))
		g, ended := halfWay(t, f, image)
		end := syscall.SIGHUP
		if signal.Ignored(end) {
			end = syscall.SIGTERM // under nohup
		}
		if err := syscall.Kill(-f.cmd.Process.Pid, end); err != nil {
			t.Fatal(err)
		}
		close(g.opened)
		if _, err := ended(); err == nil {
			t.Error("it arrived")
		}
		_ = f.in.Close()
		f.wait()
		onlyImage(t, dir, nil)
	})
}

// What is not the image is refused, and nothing stays of it.
func TestWrongHash(t *testing.T) {
	inShells(t, func(t *testing.T, shell []string) {
		for name, tools := range map[string][]string{
			"all": nil,
			"raw": {"uname", "mkdir", "head", "chmod", "mv", "rm", "sha256sum"},
		} {
			t.Run(name, func(t *testing.T) {
				var bin []string
				if tools != nil {
					bin = []string{"PATH=" + applets(t, tools...)}
				}
				dir := t.TempDir()
				wrong := program(t, 1<<20)
				wrong.compressed = pretend(gzipOf(t, wrong))
				wrong.hash = program(t, 0).Hash()
				f := start(t, shell, home(dir, bin...))
				_, err := Bootstrap(within(t), f, 0, give(wrong))
				wantError(t, err, StageHash, wrong.hash)
				f.wait()
				onlyImage(t, dir, nil)
			})
		}
	})
}

// What gzip does not take for its own is refused, too, and nothing stays of it.
func TestDamagedGzip(t *testing.T) {
	inShells(t, func(t *testing.T, shell []string) {
		image, dir := program(t, 1<<20), t.TempDir()
		data := gzipOf(t, image)
		data[len(data)/2] ^= 1
		right := image.compressed
		image.compressed = pretend(data) // the way to the far side may do that
		f := start(t, shell, home(dir))
		_, err := Bootstrap(within(t), f, 0, give(image))
		if e, ok := errors.AsType[*Error](err); !ok || e.Stage != StageUpload && e.Stage != StageHash {
			t.Fatal(err)
		}
		f.wait()
		onlyImage(t, dir, nil)
		image.compressed = right
		bootstrap(t, start(t, shell, home(dir)), image)
	})
}

// A damaged file in the caller's cache hurts nobody: the first attempt succeeds.
func TestDamagedGzipCache(t *testing.T) {
	inShells(t, func(t *testing.T, shell []string) {
		image := program(t, 1<<20)
		if _, err := image.CompressedSize(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(string(userCache(gzipCache)), image.Hash()+".gz")
		for _, image := range []*Image{image, {file: image.file, size: image.size, hash: image.hash, system: image.system}} {
			if err := overwrite(path, 500_000, 10_000); err != nil {
				t.Fatal(err)
			}
			if arrival, _ := bootstrap(t, start(t, shell, home(t.TempDir())), image); arrival.Cached {
				t.Error("it was not sent")
			}
		}
	})
}

// gzipOf returns an image's compressed bytes.
func gzipOf(t *testing.T, image *Image) []byte {
	t.Helper()
	r, err := image.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// pretend has bytes taken for a compressed image.
func pretend(data []byte) *compressed {
	return &compressed{io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), hashOf(data)}
}

// A damaged image in the cache, as a host that loses its power may leave it, is replaced.
func TestDamagedCache(t *testing.T) {
	inShells(t, func(t *testing.T, shell []string) {
		image, dir := program(t, 0), t.TempDir()
		bootstrap(t, start(t, shell, home(dir)), image)
		path := filepath.Join(dir, ".cache/afar/images", image.Hash())
		for _, size := range []int64{0, 1000} {
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			if arrival, _ := bootstrap(t, start(t, shell, home(dir)), image); arrival.Cached {
				t.Errorf("%d bytes were taken for the image", size)
			}
		}
	})
}

// A caller that gives up while it waits leaves the uploader alone.
func TestImpatient(t *testing.T) {
	shell := shellOf(t, "dash")
	image, dir := program(t, 3<<20), t.TempDir()
	slow := start(t, shell, home(dir))
	g, ended := halfWay(t, slow, image)
	ctx, cancel := context.WithCancel(within(t))
	f := start(t, shell, home(dir))
	waiting := &watchedLink{far: f, word: []byte(" busy "), seen: cancel}
	_, err := Bootstrap(ctx, waiting, 0, give(image))
	if wantError(t, err, StageUpload); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_ = f.in.Close()
	f.wait()
	close(g.opened)
	arrival, err := ended()
	if err != nil || arrival.Cached {
		t.Fatal(arrival, err)
	}
	serves(t, slow, arrival)
	onlyImage(t, dir, image)
}

// A watchedLink calls a function when a word is read.
type watchedLink struct {
	*far
	word []byte
	seen func()
}

func (w *watchedLink) Read(p []byte) (int, error) {
	n, err := w.far.Read(p)
	if bytes.Contains(p[:n], w.word) {
		w.seen()
	}
	return n, err
}
