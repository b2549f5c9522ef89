package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/afar-go/afar/trust"
)

// maxConnections is how many connections a caller may have at a time.
const maxConnections = 256

// identity is who has come, and how far it is let in.
type identity struct {
	name  string // of its key, or user
	from  string
	grant trust.Grant                 // as it was let in
	now   func() (trust.Grant, error) // as it would be now, or why it would not be; nil: as it was
}

// caller is one that has connections now.
type caller struct {
	name    string
	dir     string
	fence   *fence
	uploads chan struct{} // a place for each image that comes

	// Guarded by Node.mu.
	connections int
	running     int           // workers and programs
	gone        chan struct{} // set when the last connection has ended; closed when nothing is left
}

// maxUploads is how many images of a caller may come at a time; others wait.
const maxUploads = 4

// enter adds a connection of a caller, for whom a directory and limits are made with
// the first. A caller that is on its way out is waited for.
func (n *Node) enter(who identity) (*caller, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		c := n.callers[who.name]
		switch {
		case n.draining:
			return nil, errDraining
		case c == nil:
			return n.newCaller(who)
		case c.gone != nil:
			n.mu.Unlock()
			<-c.gone
			n.mu.Lock()
		case c.connections >= maxConnections:
			return nil, fmt.Errorf("%d connections are the most that a caller may have", maxConnections)
		default:
			c.connections++
			return c, nil
		}
	}
}

// newCaller makes the first connection's caller; n.mu is held.
func (n *Node) newCaller(who identity) (*caller, error) {
	c := &caller{name: who.name, connections: 1, uploads: make(chan struct{}, maxUploads)}
	c.dir = filepath.Join(n.callersDir(), fileName(who.name))
	for _, dir := range []string{c.dir, c.work(), c.temporary()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			_ = remove(c.dir)
			return nil, err
		}
	}
	c.fence = n.fences.around(fileName(who.name))
	n.callers[who.name] = c
	return c, nil
}

// leave takes a connection off, whose processes have ended. With the last one goes
// everything that the caller has here.
func (n *Node) leave(c *caller) {
	n.mu.Lock()
	c.connections--
	if c.connections > 0 {
		n.mu.Unlock()
		return
	}
	c.gone = make(chan struct{})
	n.mu.Unlock()
	if err := errors.Join(c.fence.close(), remove(c.dir)); err != nil {
		n.config.Log.Error("a caller has left something", "caller", c.name, "error", err)
	}
	n.mu.Lock()
	delete(n.callers, c.name)
	n.mu.Unlock()
	close(c.gone)
}

func (c *caller) work() string      { return filepath.Join(c.dir, "work") }
func (c *caller) temporary() string { return filepath.Join(c.dir, "tmp") }

// directory returns the working directory that a caller asks for. One below its own
// is made if it is not there.
func (c *caller) directory(dir string, absolute bool) (string, error) {
	switch {
	case dir == "":
		return c.work(), nil
	case filepath.IsAbs(dir):
		if !absolute {
			return "", fmt.Errorf("this node lets callers have directories below their own only, not %s, unless it runs with --absolute-dirs", dir)
		}
		return dir, nil
	}
	root, err := os.OpenRoot(c.work())
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := root.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("a directory below the caller's own: %w", err)
	}
	return filepath.Join(c.work(), dir), nil
}

// fileName makes a name that can be a file's; names of keys stay different.
func fileName(name string) string {
	return strings.NewReplacer("SHA256:", "", "/", "_", "+", "-").Replace(name)
}

// remove removes a directory, also one in which somebody has made others that cannot
// be read.
func remove(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // before it is read
		}
		return nil
	})
	return os.RemoveAll(dir)
}
