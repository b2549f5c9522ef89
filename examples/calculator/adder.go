package main

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/afar-go/afar"
)

// terms are what is to be added: a function has one argument, and several are a struct.
type terms struct{ X, Y int }

// errOverflow is an error that is one on the other side as well.
var errOverflow = errors.New("the sum is too large for an int")

func init() { afar.RegisterError("calculator.overflow", errOverflow) }

// adder is Understudy's class Adder. It has a name of its own, since tasks may wait for longer
// than this program stays as it is: one that is built later knows them by it.
var adder = afar.NamedFunc("calculator.adder", add)

// add adds two numbers wherever it is called. What it logs goes with the result.
func add(ctx context.Context, t terms) (int, error) {
	log := afar.Logger(ctx)
	log.Info("adding", "x", t.X, "y", t.Y)
	if t.Y > 0 && t.X > math.MaxInt-t.Y || t.Y < 0 && t.X < math.MinInt-t.Y {
		return 0, fmt.Errorf("%d + %d: %w", t.X, t.Y, errOverflow)
	}
	log.Info("added", "sum", t.X+t.Y)
	return t.X + t.Y, nil
}
