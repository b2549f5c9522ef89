// Fibonacci computes a Fibonacci number by recursion that is spread over worker
// processes: a function that runs in a worker calls itself through the pool that
// it was called by.
//
//	go run ./examples/fibonacci
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"slices"

	"github.com/afar-go/afar"
)

// small is where a call of its own costs more than it saves.
const small = 20

// number returns the n-th Fibonacci number.
func number(ctx context.Context, n int) (int, error) {
	if n <= small {
		return serial(n), nil
	}
	sum := 0
	for part, err := range fibonacci.Map(ctx, afar.Caller(ctx), slices.Values([]int{n - 1, n - 2})) {
		if err != nil {
			return 0, err
		}
		sum += part
	}
	return sum, nil
}

// serial is the same without any help.
func serial(n int) int {
	if n < 2 {
		return n
	}
	return serial(n-1) + serial(n-2)
}

// fibonacci is number, to be called in another process.
var fibonacci *afar.Function[int, int]

// As number and fibonacci need each other, the compiler would see a
// cycle in `var fibonacci = afar.Func(number)`.
func init() { fibonacci = afar.Func(number) }

func main() {
	afar.Main() // a worker process serves its calls in here, and never returns
	if err := run(context.Background(), 30, os.Stdout); err != nil {
		log.Fatal("fibonacci: ", err)
	}
}

func run(ctx context.Context, n int, stdout io.Writer) error {
	pool, err := afar.Open(ctx, "local:2")
	if err != nil {
		return err
	}
	defer pool.Close()
	result, err := fibonacci.On(pool)(ctx, n)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "fibonacci(%d) = %d\n", n, result)
	return nil
}
