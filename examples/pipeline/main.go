// Pipeline counts the words of a file in three stages, each a routine in a worker
// of its own: one reads lines, one makes words of them, one counts.
//
//	go run ./examples/pipeline README.md
//
// The caller starts the stages and tells each where the next one is. The items
// then go from stage to stage; the caller sees only the counts.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"sync"

	"github.com/afar-go/afar"
)

func main() {
	afar.Main() // a worker process serves its calls in here, and never returns
	top := flag.Int("top", 10, "how many of the most frequent words to print")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("pipeline: name one file")
	}
	if err := run(context.Background(), flag.Arg(0), *top, os.Stdout); err != nil {
		log.Fatal("pipeline: ", err)
	}
}

func run(ctx context.Context, path string, top int, stdout io.Writer) error {
	pool, err := afar.Open(ctx, "local:3")
	if err != nil {
		return err
	}
	defer pool.Close()
	tallies, err := countWords(ctx, pool.Gateways(), path)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d different words\n", len(tallies))
	for _, t := range tallies[:min(top, len(tallies))] {
		fmt.Fprintf(stdout, "%6d %s\n", t.Count, t.Word)
	}
	return nil
}

// countWords runs the pipeline in three workers.
func countWords(ctx context.Context, workers []*afar.Gateway, path string) ([]tally, error) {
	// The stages are started with a context that ends when this function returns
	// or when a stage fails, and so do they.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	counter, err := counting.Start(ctx, workers[2])
	if err != nil {
		return nil, err
	}
	defer counter.Close()
	tokenizer, err := tokenizing.Start(ctx, workers[1])
	if err != nil {
		return nil, err
	}
	defer tokenizer.Close()
	reader, err := reading.Start(ctx, workers[0])
	if err != nil {
		return nil, err
	}
	defer reader.Close()

	// Ref makes a handle of this end of a channel. What the tokenizer sends
	// through it arrives at the counter, as if it had been sent here.
	if err := tokenizer.Send(ctx, line{To: counter.Ref()}); err != nil {
		return nil, err
	}
	if err := reader.Send(ctx, source{Path: path, To: tokenizer.Ref()}); err != nil {
		return nil, err
	}

	// All stages are watched: the first that fails ends the others, also one that
	// has not sent anything yet and for which the next one waits.
	var stages sync.WaitGroup
	watch := func(wait func(context.Context) error) {
		stages.Go(func() {
			if err := wait(ctx); err != nil {
				cancel(err) // of several errors the first one counts
			}
		})
	}
	watch(reader.Wait)
	watch(tokenizer.Wait)
	watch(counter.Wait)
	var tallies []tally
	for t, err := range counter.All(ctx) {
		if err != nil {
			cancel(err)
			break
		}
		tallies = append(tallies, t)
	}
	stages.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return tallies, nil
}
