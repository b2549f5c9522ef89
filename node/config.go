package node

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"time"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/trust"
)

// Config says what a node is and does. Key, Authorized and Dir are required, but for
// a node that listens on unix sockets only, which needs Dir alone. Numbers must not be
// negative, but for DrainTimeout.
type Config struct {
	// Key is the node's identity.
	Key *trust.Key
	// Authorized is the path of authorized_keys. It is read at every connection.
	Authorized string
	// Dir is the node's directory: images/ and callers/. It is made if it is not
	// there; one node at a time may use it.
	Dir string
	// Log is told what happens; nil is slog.Default.
	Log *slog.Logger
	// Program is what the node calls itself, with a version, when it is pinged.
	Program string

	// MaxWorkers is how many workers and programs of all callers run at a time; 0
	// is no limit.
	MaxWorkers int
	// MaxImage and MaxImages are how many bytes an image may have, and all that are
	// kept; 0 is 1 GiB, and 8 GiB. When there are more, those go that were not used
	// for long; while all were used within the last hour, new ones are refused. What
	// one caller has brought may have half of MaxImages.
	MaxImage, MaxImages int64
	// MaxHandshakes is how many callers may be on their way in at a time, half of it
	// from one address, and two from one where many have failed. Others wait, for as
	// long as HandshakeTimeout, and addresses take turns; while some wait, whoever has
	// been on the way in for a second makes room for them, first of the address that
	// has most. When too many wait they are turned away in the same order. 0 is 128.
	MaxHandshakes int
	// HandshakeTimeout is how long a caller may take to prove its key; 0 is 10 s.
	HandshakeTimeout time.Duration
	// DrainTimeout is how long what runs may go on after Serve's context has ended;
	// 0 is 30 s, negative is as long as it takes.
	DrainTimeout time.Duration
	// AbsoluteDirs lets callers choose any directory of the host as the working
	// directory of their workers. Without it they choose below their own.
	AbsoluteDirs bool
	// Queues are those whose tasks the node runs, for submitters in Authorized who have
	// signed them (queue.Queue.Sign), QueueWorkers of a queue at a time; 0 is
	// GOMAXPROCS. The program must call afar.Main then.
	Queues       []*queue.Queue
	QueueWorkers int
	// NoControlGroups has the node leave control groups alone.
	NoControlGroups bool
}

// complete returns the configuration with its defaults.
func (c Config) complete() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("a node needs a directory")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, err
	}
	c.Dir = dir
	if err := c.check(); err != nil {
		return c, err
	}
	if err := c.checkQueues(); err != nil {
		return c, err
	}
	c.QueueWorkers = cmp.Or(c.QueueWorkers, runtime.GOMAXPROCS(0))
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.MaxImage = cmp.Or(c.MaxImage, agent.DefaultMaxImage)
	c.MaxImages = cmp.Or(c.MaxImages, agent.DefaultMaxImages)
	c.MaxHandshakes = cmp.Or(c.MaxHandshakes, 128)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 10*time.Second)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 30*time.Second)
	return c, nil
}

// check refuses numbers that mean nothing.
func (c Config) check() error {
	for _, field := range []struct {
		name  string
		value int64
		text  any
	}{
		{"MaxWorkers", int64(c.MaxWorkers), c.MaxWorkers}, {"MaxImage", c.MaxImage, c.MaxImage}, {"MaxImages", c.MaxImages, c.MaxImages},
		{"MaxHandshakes", int64(c.MaxHandshakes), c.MaxHandshakes}, {"QueueWorkers", int64(c.QueueWorkers), c.QueueWorkers},
		{"HandshakeTimeout", int64(c.HandshakeTimeout), c.HandshakeTimeout},
	} {
		if field.value < 0 {
			return fmt.Errorf("%s is %v, and must not be negative", field.name, field.text)
		}
	}
	return nil
}
