package afar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/push"
)

// PushOptions shape a Push. The zero value sends what is missing or different and
// deletes nothing.
type PushOptions struct {
	// Delete deletes what is in the remote directory and is not pushed, also what
	// Filter leaves out.
	Delete bool
	// Checksum compares files by their SHA-256. Otherwise a file of the same size
	// and time counts as unchanged.
	Checksum bool
	// DryRun changes nothing; Progress and Stats tell what would be done.
	DryRun bool
	// Filter tells whether something is pushed; what it leaves out of directories is
	// left out with all that is in them. The path has slashes and begins below
	// localDir. It is called for every directory that is pushed to, never
	// concurrently. nil pushes everything.
	Filter func(path string, d fs.DirEntry) bool
	// Progress is told what is done, in the order in which it is. It is not called
	// concurrently, and holds the push up. It may be nil.
	Progress func(PushEvent)
	// Stats is filled in before Push returns, also when that fails. It may be nil.
	Stats *PushStats
}

// PushEvent is something that a Push has done in one directory.
type PushEvent struct {
	Host, Worker string // where
	// Op is "write" when the content of a file was sent, "change" when a directory or
	// link was made, or a mode or time set, and "delete".
	Op    string
	Path  string // with slashes, below the directory
	Bytes int64  // that were sent for it
}

// PushStats says what a Push has done in all directories.
type PushStats struct {
	Directories               int   // that were pushed to: workers with the same one count once
	Written, Changed, Deleted int   // as in PushEvent
	Sent, Received            int64 // bytes
}

// pushes is the far side of Push in every program.
var pushes = Routine(receivePush)

func receivePush(ctx context.Context, ch *Channel[[]byte, []byte]) error {
	return push.Receive(ctx, pushLink{NewReader(ch), NewWriter(ch), ch})
}

type pushLink struct {
	io.Reader
	io.Writer
	io.Closer
}

// Push makes remoteDir, as every worker of the pool sees it, equal to localDir.
// A relative remoteDir is below the worker's working directory. Of workers that
// have the same one, however many there are on a host, one receives. remoteDir is
// made when it is not there.
//
// Only differences travel: files of another size or time, of larger ones the
// blocks that the file there does not have anywhere, and no bytes that were sent
// there before with another file. Neither side holds a file in memory. Files,
// directories, and links as links are pushed, with the nine permission bits and,
// but for links, modification times in nanoseconds. What is in the way and of
// another kind is replaced, with all that is in it; a remoteDir that exists keeps
// its mode.
//
// Nothing outside of remoteDir is written to, and links in it are not followed. A
// file is replaced at once when it is complete. What a push has left that ended
// before its time is removed by the next one, so two at once into one directory
// hinder each other.
//
// What cannot be read, changes all the while it is read, or is a pipe, socket or
// device is left as it is there, the rest is pushed, and the error names it. When a
// host fails the others go on, and the error says which; when its worker is lost,
// another that has the same directory takes over. The end of ctx ends the push.
func Push(ctx context.Context, p *Pool, localDir, remoteDir string, o PushOptions) error {
	if p == nil {
		return errors.New("afar: push: nil Pool")
	}
	if o.Stats != nil {
		*o.Stats = PushStats{}
	}
	options := push.Options{Delete: o.Delete, Checksum: o.Checksum, DryRun: o.DryRun, Filter: o.Filter}
	src, err := push.OpenSource(localDir, options)
	if err != nil {
		return fmt.Errorf("afar: push: %w", err)
	}
	defer func() { _ = src.Close() }()
	x := &push.Spreader{Source: src, Dir: remoteDir, Limit: p.config.MaxItem,
		Lost: func(err error) bool { return errors.Is(err, ErrWorkerLost) }}
	if o.Progress != nil {
		x.Report = func(e push.Event) { o.Progress(PushEvent(e)) }
	}
	var workers []push.Worker
	for _, g := range p.gateways {
		workers = append(workers, push.Worker{Name: g.id, Open: func(ctx context.Context) (io.ReadWriteCloser, error) {
			ch, err := pushes.Start(ctx, g)
			if err != nil {
				return nil, err
			}
			return pushLink{NewReader(ch), NewWriter(ch), ch}, nil
		}})
	}
	stats, err := x.Spread(ctx, workers)
	if o.Stats != nil {
		*o.Stats = PushStats(stats)
	}
	if ctx.Err() != nil {
		err = dispatch.CtxError(ctx)
	}
	if err = errors.Join(err, src.Err()); err != nil {
		return fmt.Errorf("afar: push: %w", err)
	}
	return nil
}
