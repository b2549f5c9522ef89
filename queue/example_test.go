package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
)

// What the examples run has names of its own: tasks are known by them, also to programs that
// are built later.
var (
	square = afar.NamedFunc("example.square", func(_ context.Context, n int) (int, error) { return n * n, nil })

	bake = afar.NamedFunc("example.bake", func(ctx context.Context, loaves int) (string, error) {
		for i := range loaves {
			afar.Logger(ctx).Info("baked", "loaf", i+1)
		}
		return fmt.Sprintf("%d loaves", loaves), nil
	})

	send = afar.NamedFunc("example.send", func(_ context.Context, to string) (string, error) {
		if !mailServer.Load() {
			return "", errors.New("the mail server is down")
		}
		return "sent to " + to, nil
	})

	report = afar.NamedFunc("example.report", func(ctx context.Context, of string) (string, error) {
		task, _ := queue.Current(ctx)
		select {
		case reported <- fmt.Sprintf("report of %s, attempt %d", of, task.Attempt):
			return "", nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	})
)

var (
	mailServer atomic.Bool // whether it is up
	reported   = make(chan string)
)

// start opens a queue in memory with one who works for it. end ends both.
func start(name string, c queue.WorkConfig) (ctx context.Context, q *queue.Queue, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	broker := memq.New()
	q = queue.New(broker, name)
	var working sync.WaitGroup
	working.Go(func() {
		if err := q.Work(ctx, c); err != nil {
			fmt.Println(err)
		}
	})
	return ctx, q, func() {
		cancel()
		working.Wait()
		_ = broker.Close()
	}
}

// A task is submitted before there is anybody to do it, and its outcome is read as often as one
// likes.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broker := memq.New() // or redisq.Open, natsq.Open, natsq.Embedded
	defer broker.Close()
	q := queue.New(broker, "numbers")

	result, err := queue.Submit(ctx, q, square, 7)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, done, _ := result.Check(ctx)
	fmt.Println("done:", done)

	var working sync.WaitGroup
	working.Go(func() { // here, or in other processes
		if err := q.Work(ctx, queue.WorkConfig{}); err != nil {
			fmt.Println(err)
		}
	})
	fmt.Println(result.Wait(ctx))
	fmt.Println(queue.Lookup[int](q, result.ID()).Wait(ctx)) // anywhere, by its ID
	cancel()
	working.Wait()
	// Output:
	// done: false
	// 49 <nil>
	// 49 <nil>
}

// A queue is a Runner: a function maps over it as over a pool. At most 1,024 inputs are under way
// at a time, however many there are.
func ExampleQueue_map() {
	ctx, q, end := start("numbers", queue.WorkConfig{Concurrency: 4}) // q.Work in a goroutine
	defer end()

	for out, err := range square.Map(ctx, q, slices.Values([]int{1, 2, 3, 4})) {
		fmt.Println(out, err)
	}
	// Output:
	// 1 <nil>
	// 4 <nil>
	// 9 <nil>
	// 16 <nil>
}

// What a function logs arrives while it runs, and stays with its result.
func ExampleResult_Log() {
	ctx, q, end := start("bakery", queue.WorkConfig{Name: "oven"}) // q.Work in a goroutine
	defer end()

	result, err := queue.Submit(ctx, q, bake, 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	for record, err := range result.Log(ctx) { // ends with the task
		fmt.Println(record.Worker, record.Message, record.Attrs, err)
	}
	fmt.Println(result.Wait(ctx))
	// Output:
	// oven baked [loaf=1] <nil>
	// oven baked [loaf=2] <nil>
	// oven baked [loaf=3] <nil>
	// 3 loaves <nil>
}

// A task that goes on failing becomes a dead letter, with the error of every attempt. When what
// it needs is there again, it is requeued.
func ExampleQueue_Requeue() {
	ctx, q, end := start("mail", queue.WorkConfig{Name: "postman"}) // q.Work in a goroutine
	defer end()

	mailServer.Store(false)
	result, err := queue.Submit(ctx, q, send, "ada",
		queue.MaxAttempts(2), queue.Backoff{First: time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = result.Wait(ctx)
	fmt.Println("dead:", errors.Is(err, queue.ErrDead))
	for letter, err := range q.Dead(ctx) {
		fmt.Println(letter.Function, letter.State, err)
		for _, attempt := range letter.Attempts {
			fmt.Printf("  %s: %v\n", attempt.Worker, attempt.Err)
		}
	}

	mailServer.Store(true)
	fmt.Println(q.Requeue(ctx, result.ID()))
	fmt.Println(result.Wait(ctx))
	// Output:
	// dead: true
	// example.send dead <nil>
	//   postman: afar: example.send on postman: the mail server is down
	//   postman: afar: example.send on postman: the mail server is down
	// 1 <nil>
	// sent to ada <nil>
}

// A batch that is run again does only what is not done yet, also when another program runs it.
func ExampleQueue_Batch() {
	ctx, q, end := start("numbers", queue.WorkConfig{Concurrency: 1}) // q.Work in a goroutine
	defer end()
	june := q.Batch("june", queue.MaxAttempts(3))

	for out, err := range square.Map(ctx, june, slices.Values([]int{1, 2, 3})) {
		fmt.Println(out, err)
		break // we are interrupted
	}
	for out, err := range square.Map(ctx, june, slices.Values([]int{1, 2, 3, 4})) {
		fmt.Println(out, err)
	}
	stats, err := q.Stats(ctx)
	fmt.Println("tasks:", stats.Done, err)
	// Output:
	// 1 <nil>
	// 1 <nil>
	// 4 <nil>
	// 9 <nil>
	// 16 <nil>
	// tasks: 4 <nil>
}

// Any number of programs may schedule the same task: it is submitted once at each of its times.
func ExampleQueue_Schedule() {
	ctx, q, end := start("reports", queue.WorkConfig{}) // q.Work in a goroutine
	defer end()

	everySecond := queue.Cron{Name: "sales", Expression: "* * * * * *"}
	for range 2 {
		go q.Schedule(ctx, queue.Every(everySecond, report, "sales"))
	}
	fmt.Println(<-reported)
	fmt.Println(<-reported)
	// Output:
	// report of sales, attempt 1
	// report of sales, attempt 1
}
