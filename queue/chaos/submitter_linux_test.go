package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/afar-go/afar/queue"
)

// client is whose topic is told of the tasks of submitters, however often they are replaced.
const client = "the-client"

// addressed has one client in all tasks.
type addressed struct{ queue.Broker }

func (a addressed) Submit(ctx context.Context, name string, tasks []queue.Task) ([]bool, error) {
	for i := range tasks {
		tasks[i].Client = client
	}
	return a.Broker.Submit(ctx, name, tasks)
}

// acceptedFile is where a submitter remembers which tasks were accepted, and when: a line each.
func acceptedFile(dir string, from int) string {
	return filepath.Join(dir, fmt.Sprint("accepted-", from))
}

// accepted reads it.
func accepted(dir string, from int) (map[int]time.Time, error) {
	text, err := os.ReadFile(acceptedFile(dir, from))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	all := map[int]time.Time{}
	for line := range strings.Lines(string(text)) {
		var n int
		var at int64
		if _, err := fmt.Sscanln(line, &n, &at); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		all[n] = time.UnixMicro(at)
	}
	return all, err
}

// abreast is how many tasks a submitter submits at a time.
const abreast = 64

// beSubmitter submits the tasks that were not accepted yet, and says so of each.
func beSubmitter(ctx context.Context, p *part) error {
	there, err := accepted(p.Dir, p.From)
	if err != nil {
		return err
	}
	b, err := openBroker(ctx, p.URL)
	if err != nil {
		return err
	}
	q := queue.New(addressed{b}, p.Queue)
	todo, failed := make(chan int), make(chan error, abreast)
	var working sync.WaitGroup
	for range abreast {
		working.Go(func() {
			for n := range todo {
				err := submit(ctx, q, p.Dir, n)
				if err == nil {
					err = appendTo(acceptedFile(p.Dir, p.From), fmt.Sprintln(n, time.Now().UnixMicro()))
				}
				if err != nil {
					failed <- fmt.Errorf("task %d: %w", n, err)
					return
				}
				fmt.Println(n)
			}
		})
	}
	for n := p.From; n < p.To && err == nil; n++ {
		if !there[n].IsZero() {
			continue
		}
		select {
		case todo <- n:
		case err = <-failed:
		}
	}
	close(todo)
	working.Wait()
	select {
	case err = <-failed:
	default:
	}
	return errors.Join(err, b.Close())
}

// submit submits a task of the ledger: one of all kinds.
func submit(ctx context.Context, q *queue.Queue, dir string, n int) error {
	in := order{N: n, Dir: dir}
	opts := []queue.SubmitOption{queue.ID(taskID(n)), queue.MaxAttempts(most), queue.Retention(time.Hour),
		queue.Priority(n%3 - 1), queue.Group(fmt.Sprint("group-", n%5))}
	if n%50 == 7 {
		opts = append(opts, queue.Delay(50*time.Millisecond))
	}
	if n%20 == 3 { // these run in processes of their own
		opts = append(opts, queue.Timeout(patience))
	}
	if n%250 == 9 { // these go through blobs
		in.Pad = make([]byte, 80<<10)
		in.Pad[0] = byte(n)
		in.Pad[1] = byte(n >> 8)
		in.Pad[2] = byte(n >> 16)
	}
	_, err := queue.Submit(ctx, q, chore, in, opts...)
	return err
}

// most is how often a task may be attempted. Its workers are killed so often that few would do.
const most = 100

func taskID(n int) string { return fmt.Sprint("task-", n) }
