// Harmonic adds up 1 + 1/2 + 1/3 + … + 1/n, in exact fractions and for every n
// up to a limit: first in a plain loop, then by the same function in worker
// processes.
//
//	go run ./examples/harmonic
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"iter"
	"log"
	"math/big"
	"os"
	"runtime"
	"time"

	"github.com/afar-go/afar"
)

// sumTo returns the sum of 1/d for d from 1 to n.
func sumTo(_ context.Context, n int) (*big.Rat, error) {
	sum := new(big.Rat)
	for d := range n {
		sum.Add(sum, big.NewRat(1, int64(d+1)))
	}
	return sum, nil
}

// harmonic is sumTo, to be called in another process.
var harmonic = afar.Func(sumTo)

func main() {
	afar.Main() // a worker process serves its calls in here, and never returns
	limit := flag.Int("n", 1000, "the largest n")
	target := flag.String("on", fmt.Sprintf("local:%d", runtime.GOMAXPROCS(0)), "the `target` to run on")
	flag.Parse()
	if err := run(context.Background(), *target, *limit, os.Stdout); err != nil {
		log.Fatal("harmonic: ", err)
	}
}

func run(ctx context.Context, target string, limit int, stdout io.Writer) error {
	start := time.Now()
	var plain []*big.Rat
	for n := range upTo(limit) {
		sum, err := sumTo(ctx, n)
		if err != nil {
			return err
		}
		plain = append(plain, sum)
	}
	fmt.Fprintf(stdout, "plain loop: %d sums in %v\n", len(plain), time.Since(start).Round(time.Millisecond))

	pool, err := afar.Open(ctx, target)
	if err != nil {
		return err
	}
	defer pool.Close()
	start = time.Now()
	var mapped []*big.Rat
	for sum, err := range harmonic.Map(ctx, pool, upTo(limit)) {
		if err != nil {
			return err
		}
		mapped = append(mapped, sum)
	}
	fmt.Fprintf(stdout, "afar's Map: %d sums in %v on %s\n", len(mapped), time.Since(start).Round(time.Millisecond), target)

	if len(mapped) != len(plain) {
		return fmt.Errorf("%d sums, not %d", len(mapped), len(plain))
	}
	for i := range plain {
		if plain[i].Cmp(mapped[i]) != 0 {
			return fmt.Errorf("the sum up to 1/%d is %v, not %v", i+1, mapped[i], plain[i])
		}
	}
	fmt.Fprintln(stdout, "the results are equal")
	return nil
}

// upTo gives 1, 2, 3, … limit.
func upTo(limit int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for n := 1; n <= limit && yield(n); n++ {
		}
	}
}
