package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/wire"
)

// Defaults of Images.
const (
	DefaultMaxImage  = 1 << 30
	DefaultMaxImages = 8 << 30
)

// Images is a Keeper whose images are files of a directory, and which runs programs
// of them. Its methods may be used concurrently.
type Images struct {
	store      *ship.Store
	dir        string
	max, limit int64
}

var _ Keeper = (*Images)(nil)

// OpenImages opens a directory, which is made if it is not there. An image may have
// max bytes, 0: 1 GiB, and all of them limit bytes, 0: 8 GiB; when they have more,
// those go that were not used for long.
func OpenImages(dir string, max, limit int64) (*Images, error) {
	store, err := ship.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	if max <= 0 {
		max = DefaultMaxImage
	}
	if limit <= 0 {
		limit = DefaultMaxImages
	}
	return &Images{store: store, dir: dir, max: max, limit: limit}, nil
}

// Path returns the path of an image, and marks it as used. A file that is not the image
// whose name it has, or was changed since it was, is removed, and the image is not there.
func (i *Images) Path(hash string) (path string, ok bool) { return i.store.Path(hash) }

// Has tells whether an image is there, as Path does.
func (i *Images) Has(hash string) bool {
	_, ok := i.store.Path(hash)
	return ok
}

// Put keeps an image. It refuses one when there are too many that were used too
// lately to be removed.
func (i *Images) Put(ctx context.Context, hash string, size int64, r io.Reader) error {
	return i.PutWithin(ctx, hash, size, r, i.max)
}

// PutWithin keeps an image of at most so many bytes, if that is less than what any
// image may have.
func (i *Images) PutWithin(ctx context.Context, hash string, size int64, r io.Reader, most int64) error {
	most = min(most, i.max)
	if size > most {
		return fmt.Errorf("the image has %d bytes compressed; %d are the most that are taken", size, most)
	}
	if err := i.store.Tidy(i.limit); err != nil {
		return err
	}
	if kept := i.bytes(); kept+size > i.limit {
		return fmt.Errorf("no room for images: %d bytes of %d are in use", kept, i.limit)
	}
	return i.store.Put(ctx, hash, r, most)
}

// Size is how many bytes the file of an image has, 0 if it is not there. It is no use of
// the image, and does not check it.
func (i *Images) Size(hash string) int64 {
	info, err := os.Lstat(filepath.Join(i.dir, filepath.Base(hash)))
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// Limit is how many bytes all images may have.
func (i *Images) Limit() int64 { return i.limit }

// bytes is how large the files in the directory are, those that are still coming
// included.
func (i *Images) bytes() int64 {
	entries, err := os.ReadDir(i.dir)
	if err != nil {
		return 0 // Put will find out
	}
	var total int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	return total
}

// Run runs a program, as Server.Run. Its environment is that of this process, but for
// what makes that an agent.
func (i *Images) Run(l *wire.Launch) (*Program, error) {
	path, ok := i.Path(l.Image)
	if !ok {
		return nil, fmt.Errorf("image %q is not here", l.Image)
	}
	own := slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, ship.AgentVariable+"=") })
	return Execute(Execution{Path: path, Args: l.Argv, Dir: l.Dir, Nice: l.Nice, Env: append(own, l.Env...)})
}

// lateImages are Images whose directory is opened when somebody brings one: most who
// reach a host have a program there already, and want no other.
type lateImages struct{ open func() (*Images, error) }

// Has tells whether an image is there.
func (l lateImages) Has(hash string) bool {
	images, err := l.open()
	return err == nil && images.Has(hash)
}

// Put keeps an image.
func (l lateImages) Put(ctx context.Context, hash string, size int64, r io.Reader) error {
	images, err := l.open()
	if err != nil {
		return err
	}
	return images.Put(ctx, hash, size, r)
}

// Run runs a program.
func (l lateImages) Run(launch *wire.Launch) (*Program, error) {
	images, err := l.open()
	if err != nil {
		return nil, err
	}
	return images.Run(launch)
}
