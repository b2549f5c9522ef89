package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/wire"
)

// maxCache is how many bytes of images an agent leaves on its host.
const maxCache = 1 << 30

// Main serves whoever has brought this program to its host, with a nonce, and started
// it there, until it has gone.
func Main(nonce string) error {
	link, err := launch.Standard()
	if err != nil {
		return err
	}
	dir := os.Getenv(ship.CacheVariable)
	for _, name := range []string{ship.AgentVariable, ship.CacheVariable} {
		_ = os.Unsetenv(name) // Workers, and what they start, are no agents.
	}
	temporary := ship.Temporary(dir, nonce)
	var tidying sync.WaitGroup
	defer tidying.Wait() // else agents that do not live long would never get to it
	identity := func() (string, error) { return identify(dir, &tidying) }
	if temporary {
		identity = launch.ImageHash
	}
	hash, err := identity()
	if err != nil {
		return err
	}
	images := lateImages{sync.OnceValues(func() (*Images, error) { return OpenImages(dir, 0, maxCache) })}
	if temporary {
		// What others bring is kept for as long as this process is there.
		own := filepath.Join(filepath.Dir(dir), "afar-programs-"+nonce)
		defer os.RemoveAll(own)
		images.open = sync.OnceValues(func() (*Images, error) { return OpenImages(own, 0, maxCache) })
		// Nobody else finds it there. What runs is open, so only systems where it has to have a name keep it for now.
		if runtime.GOOS == "linux" {
			_ = os.RemoveAll(dir)
		} else {
			defer os.RemoveAll(dir)
		}
	}
	if _, err := link.Write([]byte(ship.AgentLine(nonce))); err != nil {
		return err
	}
	adopt()
	defer endAdopted()
	v := &Server{Start: Starter(hash), Command: launch.Command, Dial: launch.Dial, Keep: images, Run: images.Run}
	return Serve(link, wire.Hello{Image: hash}, v)
}

// identify returns the hash of this program's image, which should be in a cache by that
// name. It is computed once for each image in a cache, which is then tidied.
func identify(dir string, tidying *sync.WaitGroup) (string, error) {
	store, err := ship.OpenStore(dir)
	path, pathErr := os.Executable()
	if err != nil || pathErr != nil || !sameFile(dir, filepath.Dir(path)) {
		return launch.ImageHash()
	}
	name := filepath.Base(path)
	id, err := launch.ImageID()
	if err != nil {
		return "", err
	}
	hash, known := name, store.Known(name, id)
	if !known {
		if hash, err = launch.ImageHash(); err != nil {
			return "", err
		}
		if hash != name {
			_ = os.Remove(path) // so that the next one sends it again
			return "", fmt.Errorf("%s was changed: it is %s", path, hash)
		}
	}
	tidying.Go(func() {
		store.Use(hash)
		_ = store.Tidy(maxCache)
	})
	if !known {
		go store.Know(hash, id) // which waits for the disk, and may be cut short
	}
	return hash, nil
}

func sameFile(one, other string) bool {
	a, err := os.Stat(one)
	if err != nil {
		return false
	}
	b, err := os.Stat(other)
	return err == nil && os.SameFile(a, b)
}

// Starter starts workers for others, of this process's program, which they are to
// call image.
func Starter(image string) func(*wire.Launch, func([]byte)) (*launch.Worker, error) {
	return func(l *wire.Launch, output func([]byte)) (*launch.Worker, error) {
		if l.Image != "" && l.Image != image {
			return nil, fmt.Errorf("there is no other program here than %s", image)
		}
		return launch.Local(launch.Spec{ID: l.ID, Dir: l.Dir, Nice: l.Nice, Image: image, Output: output,
			Env: Environment(l, os.LookupEnv)})
	}
}
