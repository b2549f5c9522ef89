package node_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/wire"
	"github.com/afar-go/afar/node"
)

// imagePath is where the node keeps what callers bring.
func (s *site) imagePath(t testing.TB) string {
	return filepath.Join(s.dir, "node", "images", s.image(t))
}

// An image that is damaged while the node runs is not started, but brought again, whatever
// has its name.
func TestDamagedImage(t *testing.T) {
	s := newSite(t, "")
	_, err := look.On(s.open("?workers=1"))(within(t), 0)
	must(t, err)
	path := s.imagePath(t)
	good, err := os.ReadFile(path)
	must(t, err)
	replace := func(data []byte, mode os.FileMode) {
		t.Helper()
		must(t, os.WriteFile(path+".new", data, mode))
		must(t, os.Rename(path+".new", path))
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	brought := 1
	for name, damage := range map[string]func(){
		"flipped":        func() { replace(flipped, 0o500) },
		"truncated":      func() { replace(good[:100_000], 0o500) },
		"another":        func() { replace([]byte("#!/bin/sh\nexec cat\n"), 0o500) },
		"not executable": func() { must(t, os.Chmod(path, 0o600)) },
		"a directory": func() {
			must(t, os.Remove(path))
			must(t, os.MkdirAll(filepath.Join(path, "x"), 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			place, _ := s.place(t)
			damage()
			if _, err := place.Run(within(t), &wire.Launch{Image: s.image(t)}, agent.Streams{}); err == nil {
				t.Error("it was run")
			} else {
				contains(t, err.Error(), "is not here")
			}
			_, err := look.On(s.open("?workers=1"))(within(t), 0)
			must(t, err)
			brought++
			s.log.wait(t, brought, "image kept")
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o500 {
				t.Errorf("the file is %v, %v", info, err)
			}
		})
	}
}

// When there is no space left for an image the caller is told so, and nothing stays of it.
func TestNoSpaceForImages(t *testing.T) {
	var images string
	s := newSite(t, "", func(c *node.Config) {
		images = filepath.Join(c.Dir, "images")
		must(t, os.MkdirAll(images, 0o700))
		if err := unix.Mount("none", images, "tmpfs", 0, "size=256k,mode=700"); err != nil {
			t.Skipf("mounting needs root, and a kernel that lets it: %v", err)
		}
		t.Cleanup(func() { must(t, unix.Unmount(images, unix.MNT_DETACH)) })
	})
	contains(t, s.refused("?workers=1"), "no space")
	s.log.wait(t, 1, "image not kept", "no space left on device")
	left, err := os.ReadDir(images)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// bring has a place keep an image that is nothing but bytes.
func bring(t testing.TB, place *agent.Place, filling byte) error {
	image := bytes.Repeat([]byte{filling}, 15<<10)
	sum := sha256.Sum256(image)
	_, err := place.PutImage(within(t), hex.EncodeToString(sum[:]), int64(len(image)),
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(image)), nil })
	return err
}
