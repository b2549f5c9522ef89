// Objects makes two objects in a worker and uses them from here: fields are read
// and written, methods called, members computed, all over there.
//
//	go run ./examples/objects
//
// It is the README of DisPy as a Go program. DisPy sends the source of a class to
// its server; here the worker is this same program, and knows the type already.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"sync"

	"github.com/afar-go/afar"
)

// wrapped is what the objects are. The exported members can be used from afar.
type wrapped struct {
	Num int
}

func newWrapped(_ context.Context, num int) (*wrapped, error) { return &wrapped{Num: num}, nil }

// DoStuff is a method of the form that Method takes: a context, one input, one
// output, an error.
func (w *wrapped) DoStuff(_ context.Context, word string) (string, error) {
	return fmt.Sprintf("%s stuff done: %d", word, w.Num), nil
}

// Increase has neither a context nor an error, which Invoke does not ask for.
// Nothing guards Num: methods of one object run one at a time.
func (w *wrapped) Increase(by int) int {
	w.Num += by
	return w.Num
}

// Squared and PID are computed members: methods without arguments.
func (w *wrapped) Squared() int { return w.Num * w.Num }

// PID says in which process the object lives.
func (w *wrapped) PID() int { return os.Getpid() }

// corridor is a package variable: all objects of a worker share it, those of
// another worker have another one, and so has the caller.
var corridor = make(chan struct{})

// Meet returns when Meet of another object in the same worker runs as well.
func (w *wrapped) Meet(ctx context.Context) error {
	select {
	case corridor <- struct{}{}:
		return nil
	case <-corridor:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// class makes objects in workers; doStuff is DoStuff with its types, which the
// compiler checks. Members that are used by name are checked when they are used.
var (
	class   = afar.Class(newWrapped)
	doStuff = afar.Method((*wrapped).DoStuff)
)

func main() {
	afar.Main() // a worker process serves its calls in here, and never returns
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal("objects: ", err)
	}
}

func run(ctx context.Context, stdout io.Writer) error {
	pool, err := afar.Open(ctx, "local:1") // the server
	if err != nil {
		return err
	}
	defer pool.Close()
	server := pool.Gateways()[0]

	first, err := class.New(ctx, server, 7)
	if err != nil {
		return err
	}
	defer first.Close()
	if err := use(ctx, first, stdout); err != nil {
		return err
	}
	second, err := class.New(ctx, server, 7)
	if err != nil {
		return err
	}
	defer second.Close()
	if err := compare(ctx, first, second, stdout); err != nil {
		return err
	}
	if err := together(ctx, first, second, stdout); err != nil {
		return err
	}

	// The object goes with its handle. Its worker and the other object stay.
	if err := list(ctx, server, stdout); err != nil {
		return err
	}
	_ = first.Close() // its error is always nil
	return list(ctx, server, stdout)
}

// use calls a method, reads a field, sets it, and sees that the method sees it.
func use(ctx context.Context, object *afar.Object[wrapped], stdout io.Writer) error {
	done, err := doStuff.On(object)(ctx, "yay")
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, done)
	if err := afar.Set(ctx, object, "Num", 5); err != nil {
		return err
	}
	if done, err = doStuff.On(object)(ctx, "yay"); err != nil {
		return err
	}
	fmt.Fprintln(stdout, done)

	squared, err := afar.Get[int](ctx, object, "Squared")
	if err != nil {
		return err
	}
	pid, err := afar.Get[int](ctx, object, "PID")
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "squared: %d; computed in this process: %t\n", squared, pid == os.Getpid())
	return nil
}

// compare shows that what was set in the first object is not in the second.
func compare(ctx context.Context, first, second *afar.Object[wrapped], stdout io.Writer) error {
	done, err := doStuff.On(second)(ctx, "boo")
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, done)
	for i, object := range []*afar.Object[wrapped]{first, second} {
		num, err := afar.Get[int](ctx, object, "Num")
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "object %d: Num is %d\n", i, num)
	}
	return nil
}

// together uses both objects from two goroutines at once. Different objects never
// wait for each other: here one method returns only while the other runs.
func together(ctx context.Context, first, second *afar.Object[wrapped], stdout io.Writer) error {
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, object := range []*afar.Object[wrapped]{first, second} {
		wg.Go(func() { _, errs[i] = afar.Invoke[struct{}](ctx, object, "Meet") })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	fmt.Fprintln(stdout, "they have met")

	// One object has one method at a time, so that nothing is lost here.
	const each = 500
	for i := range errs {
		wg.Go(func() {
			for range each {
				if _, err := afar.Invoke[int](ctx, first, "Increase", 1); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	num, err := afar.Get[int](ctx, first, "Num")
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "after two callers: Num is", num)
	return nil
}

// list says what objects the server has.
func list(ctx context.Context, server *afar.Gateway, stdout io.Writer) error {
	status, err := server.Status(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "objects on the server: %d\n", len(status.Objects))
	return nil
}
