package node_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/hosttest"
	"github.com/afar-go/afar/internal/reach"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/target"
	"github.com/afar-go/afar/internal/wire"
	"github.com/afar-go/afar/node"
	"github.com/afar-go/afar/trust"
)

// presence is what a worker knows of where it is.
type presence struct {
	PID int
	Dir string
	Env []string
}

var (
	look  = afar.Func(lookAround)
	spawn = afar.Func(spawnOthers)
	eat   = afar.Func(eatMemory)
	words = afar.Func(countWords)
	hang  = afar.Func(hangAround)
	link  = afar.Func(linkTo)
)

func lookAround(context.Context, int) (presence, error) {
	dir, err := os.Getwd()
	return presence{PID: os.Getpid(), Dir: dir, Env: os.Environ()}, err
}

// spawnOthers starts a child, and leaves a file.
func spawnOthers(context.Context, int) (int, error) {
	if err := os.WriteFile("left.txt", []byte("here"), 0o600); err != nil {
		return 0, err
	}
	if err := os.Mkdir("shut", 0o000); err != nil {
		return 0, err
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

func eatMemory(_ context.Context, mebibytes int) (int, error) {
	b := make([]byte, mebibytes<<20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return len(b), nil
}

func countWords(_ context.Context, text string) (map[string]int, error) {
	counts := map[string]int{}
	for _, w := range strings.Fields(text) {
		counts[w]++
	}
	return counts, nil
}

// hangAround ends when a file appears, of which it is told when it has begun.
func hangAround(_ context.Context, fifo string) (int, error) {
	if err := os.WriteFile(fifo+".begun", nil, 0o600); err != nil {
		return 0, err
	}
	_, err := os.ReadFile(fifo) // until somebody writes to it
	return os.Getpid(), err
}

func linkTo(_ context.Context, dir string) (int, error) { return 0, os.Symlink(dir, "way") }

// A pool on a node counts words, each caller in a directory of its own, of which
// nothing stays.
func TestPool(t *testing.T) {
	s := newSite(t, "")
	pool := s.open("?workers=2&env.A=b")
	lines := []string{"a b a", "c", "b b", ""}
	total := map[string]int{}
	for counts, err := range words.Map(within(t), pool, slices.Values(lines)) {
		must(t, err)
		for w, n := range counts {
			total[w] += n
		}
	}
	if want := map[string]int{"a": 2, "b": 3, "c": 1}; !maps.Equal(total, want) {
		t.Errorf("counted %v, want %v", total, want)
	}
	at, err := look.On(pool)(within(t), 0)
	must(t, err)
	if name := filepath.Join(s.dir, "node", "callers"); !strings.HasPrefix(at.Dir, name) {
		t.Errorf("a worker is in %s, not below %s", at.Dir, name)
	}
	if !slices.Contains(at.Env, "A=b") || !slices.Contains(at.Env, "HOME="+at.Dir) {
		t.Errorf("the worker's environment is %q", at.Env)
	}
	for _, entry := range at.Env {
		if strings.HasPrefix(entry, trust.KeyVariable) || strings.HasPrefix(entry, "XDG_") {
			t.Errorf("a worker has the node's %q", entry)
		}
	}
	child, err := spawn.On(pool)(within(t), 0)
	must(t, err)
	gone := []func(){hosttest.Watch(t, child)}
	for _, g := range pool.Gateways() {
		at, err := look.On(g)(within(t), 0)
		must(t, err)
		gone = append(gone, hosttest.Watch(t, at.PID))
	}
	must(t, pool.Close())
	for _, wait := range gone {
		wait()
	}
	s.log.wait(t, 1, "caller out")
	if left := s.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	s.log.wait(t, 1, "image kept", s.callerKey.Public().Fingerprint())
	s.log.wait(t, 2, "worker ended")
}

// An image travels once.
func TestImageOnce(t *testing.T) {
	s := newSite(t, "")
	for range 2 {
		pool := s.open("?workers=1")
		_, err := look.On(pool)(within(t), 0)
		must(t, err)
		must(t, pool.Close())
	}
	s.log.wait(t, 2, "caller out")
	kept := 0
	for _, line := range s.log.all() {
		if strings.Contains(line, "image kept") {
			kept++
		}
	}
	if kept != 1 {
		t.Errorf("the image came %d times", kept)
	}
}

// Who is not in authorized_keys learns that, and what to do; the node's log has it too.
func TestUnknownCaller(t *testing.T) {
	s := newSite(t, "")
	stranger := s.newKey("stranger")
	t.Setenv(trust.KeyVariable, filepath.Join(s.dir, "stranger"))
	contains(t, s.refused(""), "not authorised", "afar key authorize", stranger.Public().String())
	s.log.wait(t, 1, "refused", stranger.Public().Fingerprint())
	t.Setenv(trust.KeyVariable, filepath.Join(s.dir, "none"))
	contains(t, s.refused(""), "no key", "afar key new")
}

// A key that is revoked opens nothing more; what it has opened goes on.
func TestRevoked(t *testing.T) {
	s := newSite(t, "")
	pool := s.open("?workers=1")
	must(t, s.authorized.Revoke(s.callerKey.Public()))
	contains(t, s.refused(""), "not authorised")
	s.log.wait(t, 1, "refused", "revoked")
	_, err := look.On(pool)(within(t), 0)
	must(t, err)
}

// A node that is not known, or has another key, is not told anything.
func TestNodeKey(t *testing.T) {
	s := newSite(t, "")
	must(t, s.known.Forget(s.address))
	contains(t, s.refused(""), "not known", "afar key trust", s.address, s.nodeKey.Public().Fingerprint())
	other, err := trust.NewKey("")
	must(t, err)
	must(t, s.known.Add(s.address, other.Public()))
	contains(t, s.refused(""), "CHANGED", s.nodeKey.Public().Fingerprint(), other.Public().Fingerprint())
	if strings.Contains(strings.Join(s.log.all(), "\n"), "caller in") {
		t.Error("the caller went on")
	}
}

// A grant's number of workers is for all connections of a caller.
func TestWorkersLimit(t *testing.T) {
	s := newSite(t, "workers=2")
	contains(t, s.refused("?workers=3"), "2 workers are the most")
	s.log.wait(t, 1, "caller out")
	pool := s.open("?workers=2")
	contains(t, s.refused("?workers=1"), "2 workers are the most")
	// A worker that is replaced has the place of the old one.
	g := pool.Gateways()[0]
	before, err := look.On(g)(within(t), 0)
	must(t, err)
	must(t, syscall.Kill(before.PID, syscall.SIGKILL))
	after, err := look.On(g)(within(t), 0)
	must(t, err)
	if before.PID == after.PID {
		t.Error("it was not replaced")
	}
}

// A grant's memory bounds each worker; beyond that it ends, and says so.
func TestMemoryLimit(t *testing.T) {
	s := newSite(t, "memory=128MiB", func(c *node.Config) { c.NoControlGroups = true })
	pool := s.open("?workers=1")
	_, err := eat.On(pool)(within(t), 16)
	must(t, err)
	_, err = eat.On(afar.With(pool, afar.Policy{MaxAttempts: 1}))(within(t), 400)
	if !errors.Is(err, afar.ErrWorkerLost) {
		t.Fatalf("a worker that takes 400 MiB ended with %v", err)
	}
	contains(t, err.Error(), "its memory was limited to 128 MiB")
	s.log.wait(t, 1, "caller in", "128 MiB of memory for each worker: roughly, by RLIMIT_AS")
}

// Relative directories are below the caller's own, and there is no way out.
func TestDirectories(t *testing.T) {
	s := newSite(t, "")
	pool := s.open("?workers=1&dir=a/b")
	at, err := look.On(pool)(within(t), 0)
	must(t, err)
	if !strings.HasSuffix(at.Dir, filepath.Join("work", "a/b")) {
		t.Errorf("the worker is in %s", at.Dir)
	}
	if _, err = link.On(pool)(within(t), "/tmp"); err != nil { // work/a/b/way leads out
		t.Fatal(err)
	}
	for _, dir := range []string{"..", "../../x", "a/../../x", "a/b/way", "a/b/way/x"} {
		contains(t, s.refused("?workers=1&dir="+dir), "directory")
	}
	contains(t, s.refused("?workers=1&dir=/tmp"), "below their own", "--absolute-dirs")
}

func TestAbsoluteDirectory(t *testing.T) {
	s := newSite(t, "", func(c *node.Config) { c.AbsoluteDirs = true })
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	at, err := look.On(s.open("?workers=1&dir="+dir))(within(t), 0)
	must(t, err)
	if at.Dir != dir {
		t.Errorf("the worker is in %s, not in %s", at.Dir, dir)
	}
}

// An image that is too large is refused, with the reason.
func TestImageLimit(t *testing.T) {
	s := newSite(t, "", func(c *node.Config) { c.MaxImage = 1000 })
	contains(t, s.refused("?workers=1"), "1000 are the most")
	s.log.wait(t, 1, "image not kept")
}

// A caller cannot take all the room for images, which would keep the others out.
func TestImagesOfOneCaller(t *testing.T) {
	s := newSite(t, "", func(c *node.Config) { c.MaxImages = 40 << 10 })
	first, _ := s.place(t)
	must(t, bring(t, first, 1))
	if err := bring(t, first, 2); err == nil || !strings.Contains(err.Error(), "this caller's images have 15360 bytes already") {
		t.Errorf("got %v", err)
	}
	other := s.newKey("other")
	must(t, s.authorized.Append(trust.Grant{Key: other.Public()}))
	t.Setenv(trust.KeyVariable, filepath.Join(s.dir, "other"))
	second, _ := s.place(t)
	must(t, bring(t, second, 3))
}

// place connects to the node without anything around it.
func (s *site) place(t testing.TB) (*agent.Place, *wire.Hello) {
	t.Helper()
	at, err := target.Parse(s.target(""))
	must(t, err)
	h := reach.New(reach.Here{}, *at.Remote, reach.Config{Patience: patience})
	t.Cleanup(h.Close)
	place, hello, err := h.Place(within(t))
	must(t, err)
	return place, hello
}

// image is the hash of what callers bring.
func (s *site) image(t testing.TB) string {
	t.Helper()
	image, err := ship.File(os.Getenv(imageVariable), "")
	must(t, err)
	return image.Hash()
}

// A node says how it is; it runs nothing of its own.
func TestStatus(t *testing.T) {
	s := newSite(t, "workers=3")
	s.open("?workers=2")
	place, hello := s.place(t)
	status, err := place.Status(within(t))
	must(t, err)
	if status.Program != "test" || status.Workers != 2 || status.Own != 2 || status.Draining || len(status.LoadMilli) != 3 ||
		!slices.Equal(status.Limits, []string{"3 workers"}) {
		t.Errorf("status %+v", status)
	}
	if hello.System == "" || hello.Go == "" || hello.Concurrency < 1 {
		t.Errorf("hello %+v", hello)
	}
	for _, image := range []string{"", strings.Repeat("0", 64), "../x"} {
		_, err := place.Run(within(t), &wire.Launch{Image: image}, agent.Streams{})
		if err == nil {
			t.Fatalf("the node runs image %q", image)
		}
		contains(t, err.Error(), "is not here")
	}
	if _, err := place.Run(within(t), &wire.Launch{Image: s.image(t), Nice: -1}, agent.Streams{}); err == nil {
		t.Error("the node gives priority")
	} else {
		contains(t, err.Error(), "priority")
	}
	if _, err := place.Dial(within(t), "tcp", s.address); err == nil {
		t.Error("the node connects for others")
	}
	// What it is not asked for by hash is not what is kept.
	wrong := strings.Repeat("1", 64)
	image, err := ship.File(os.Getenv(imageVariable), "")
	must(t, err)
	if _, err := place.PutImage(within(t), wrong, image.Size(), image.Open); err == nil {
		t.Error("the node keeps an image with another hash")
	}
}

// A worker of one node opens one on another, whose key is checked by the caller.
func TestThroughGateway(t *testing.T) {
	s := newSite(t, "")
	pool := s.open("?workers=1")
	next, err := pool.Gateways()[0].Open(within(t), s.target("?workers=1&dir=far"))
	must(t, err)
	at, err := look.On(next)(within(t), 0)
	must(t, err)
	if !strings.HasSuffix(at.Dir, filepath.Join("work", "far")) {
		t.Errorf("the worker is in %s", at.Dir)
	}
	s.log.wait(t, 2, "caller in", s.callerKey.Public().Fingerprint())
	must(t, s.known.Forget(s.address))
	if _, err := pool.Gateways()[0].Open(within(t), s.target("?workers=1")); err == nil {
		t.Error("a node that is not known is trusted on the way")
	} else {
		contains(t, err.Error(), "not known")
	}
}
