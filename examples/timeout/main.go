// Timeout gives a function inputs of which one makes it loop for ever. That one
// is stopped, the others have their results, and the pool goes on working.
//
//	go run ./examples/timeout
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"time"

	"github.com/afar-go/afar"
)

// stepsFrom counts the steps from n to 1: halve what is even, else times three
// plus one. From 0 there is no way to 1, and nothing in here asks the context:
// only the end of its process ends that call.
func stepsFrom(_ context.Context, n int) (int, error) {
	steps := 0
	for ; n != 1; steps++ {
		if n%2 == 0 {
			n /= 2
		} else {
			n = 3*n + 1
		}
	}
	return steps, nil
}

// collatz is stepsFrom, to be called in another process.
var collatz = afar.Func(stepsFrom)

func main() {
	afar.Main() // a worker process serves its calls in here, and never returns
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal("timeout: ", err)
	}
}

func run(ctx context.Context, stdout io.Writer) error {
	pool, err := afar.Open(ctx, "local:2")
	if err != nil {
		return err
	}
	defer pool.Close()

	// At Timeout the context of the call ends; Grace later its worker is killed
	// and replaced.
	strict := afar.With(pool, afar.Policy{Timeout: time.Second, Grace: 100 * time.Millisecond})
	inputs := []int{6, 7, 0, 27, 97}
	i := 0
	for steps, err := range collatz.Map(ctx, strict, slices.Values(inputs)) {
		switch {
		case errors.Is(err, afar.ErrTimeout):
			fmt.Fprintf(stdout, "%d: timed out\n", inputs[i])
		case err != nil:
			return err
		default:
			fmt.Fprintf(stdout, "%d: %d steps\n", inputs[i], steps)
		}
		i++
	}

	steps, err := collatz.On(pool)(ctx, 871)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "the pool still works: from 871 it takes %d steps\n", steps)
	return nil
}
