package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/queue"
)

// order asks for a thumbnail. It names files, and does not bring them: that way a task which is
// requeued finds a picture that was repaired meanwhile. Changed is when the picture was, so that
// a picture which has changed since is another order.
type order struct {
	From, To string
	Square   int
	Changed  time.Time
}

// size is that of a thumbnail.
type size struct{ Width, Height int }

// thumbnail makes one. To make it twice does no harm, which is what tasks should be like: a
// worker that is lost after it has written the file cannot say so any more, and another does
// it again.
var thumbnail = afar.NamedFunc("thumbnails.thumbnail", func(ctx context.Context, o order) (size, error) {
	picture, err := readPicture(o.From)
	if err != nil {
		return size{}, err
	}
	small := shrink(picture, o.Square)
	b := small.Bounds()
	task, _ := queue.Current(ctx)
	return size{b.Dx(), b.Dy()}, writePicture(o.To, small, task.Attempt)
})

// studio is who wants thumbnails.
type studio struct {
	queue  *queue.Queue
	stdout io.Writer
}

// patient are the options of an order. A picture may still be on its way here, so one that cannot
// be read is tried again, later and later.
var patient = []queue.SubmitOption{
	queue.MaxAttempts(3),
	queue.Backoff{First: 50 * time.Millisecond, Factor: 4},
}

// shrink makes the thumbnails of all pictures of a directory, in its folder "small". The orders are
// a batch: when this is run again after an interruption, only what is missing is done.
func (s *studio) shrink(ctx context.Context, dir string) error {
	orders, err := ordersOf(dir)
	if err != nil {
		return err
	}
	failed := 0
	for o := range thumbnail.MapUnordered(ctx, s.queue.Batch("thumbnails", patient...), slices.Values(orders)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.tell(filepath.Base(o.In.From), o.Out, o.Err)
		if o.Err != nil {
			failed++
		}
	}
	fmt.Fprintf(s.stdout, "%d pictures, %d thumbnails\n", len(orders), len(orders)-failed)
	if failed == 0 {
		return nil
	}
	if _, err := s.dead(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%d pictures have no thumbnail", failed)
}

// tell prints what has become of an order.
func (s *studio) tell(what string, is size, err error) {
	if err != nil {
		fmt.Fprintf(s.stdout, "%s: %v\n", what, err)
		return
	}
	fmt.Fprintf(s.stdout, "%s: %d x %d\n", what, is.Width, is.Height)
}

// dead prints the dead letters, with the errors of all of their attempts, and returns their IDs.
func (s *studio) dead(ctx context.Context) (ids []string, err error) {
	for letter, err := range s.queue.Dead(ctx) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, letter.ID)
		fmt.Fprintln(s.stdout, "dead letter", letter.ID)
		for i, a := range letter.Attempts {
			what := "the worker was lost"
			if a.Err != nil {
				what = a.Err.Error()
			}
			fmt.Fprintf(s.stdout, "  attempt %d: %s\n", i+1, what)
		}
	}
	return ids, nil
}

// requeue hands out the dead letters again, and waits for what becomes of them.
func (s *studio) requeue(ctx context.Context) error {
	ids, err := s.dead(ctx)
	if err != nil || len(ids) == 0 {
		return err
	}
	if _, err := s.queue.Requeue(ctx, ids...); err != nil {
		return err
	}
	failed := 0
	for _, id := range ids {
		is, err := queue.Lookup[size](s.queue, id).Wait(ctx)
		s.tell(id, is, err)
		if err != nil {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d have failed again", failed, len(ids))
	}
	return nil
}

// ordersOf lists the pictures of a directory.
func ordersOf(dir string) (orders []order, err error) {
	dir, err = filepath.Abs(dir) // the workers may be elsewhere
	if err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	small := filepath.Join(dir, "small")
	for _, f := range files {
		if !slices.Contains([]string{".png", ".jpg", ".jpeg"}, strings.ToLower(filepath.Ext(f.Name()))) {
			continue
		}
		info, err := f.Info()
		if err != nil {
			return nil, err
		}
		orders = append(orders, order{From: filepath.Join(dir, f.Name()), To: filepath.Join(small, f.Name()),
			Square: 64, Changed: info.ModTime()})
	}
	slices.SortFunc(orders, func(a, b order) int { return cmp.Compare(a.From, b.From) })
	return orders, os.MkdirAll(small, 0o755)
}

// makePictures draws pictures, half of them as PNG. The last one breaks off in the middle.
func makePictures(dir string, n int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("%03d.%s", i, []string{"png", "jpg"}[i%2]))
		if err := writePicture(path, draw(i), 0); err != nil {
			return err
		}
		if i == n-1 {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Truncate(path, info.Size()/2)
		}
	}
	return nil
}
