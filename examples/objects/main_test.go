package main

import (
	"context"
	"errors"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/afar-go/afar"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	afar.Main()
	goleak.VerifyTestMain(m)
}

func Example() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// yay stuff done: 7
	// yay stuff done: 5
	// squared: 25; computed in this process: false
	// boo stuff done: 7
	// object 0: Num is 5
	// object 1: Num is 7
	// they have met
	// after two callers: Num is 1005
	// objects on the server: 2
	// objects on the server: 1
}

// open makes an object in a worker of its own.
func open(t *testing.T) (*afar.Pool, *afar.Object[wrapped]) {
	t.Helper()
	pool, err := afar.Open(t.Context(), "local:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	object, err := class.New(t.Context(), pool, 7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = object.Close() })
	return pool, object
}

// TestClosed uses an object that is gone.
func TestClosed(t *testing.T) {
	pool, object := open(t)
	_ = object.Close()
	if _, err := doStuff.On(object)(t.Context(), "yay"); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("method of a closed object: %v", err)
	}
	if _, err := afar.Get[int](t.Context(), object, "Num"); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("field of a closed object: %v", err)
	}
	if status, err := pool.Gateways()[0].Status(t.Context()); err != nil || len(status.Objects) != 0 {
		t.Errorf("objects: %v, error %v", status.Objects, err)
	}
}

// TestMistakes makes what DisPy answers with a Fault that has no type.
func TestMistakes(t *testing.T) {
	_, object := open(t)
	_, err := afar.Invoke[string](t.Context(), object, "DoStuf", "yay")
	if !errors.Is(err, afar.ErrUnknownFunction) || !strings.Contains(err.Error(), "DoStuff(") {
		t.Errorf("a method that is not there: %v", err)
	}
	_, err = afar.Invoke[int](t.Context(), object, "Increase", "much")
	if err == nil || !strings.Contains(err.Error(), "Increase(int)") {
		t.Errorf("an argument of another type: %v", err)
	}
	if _, err = afar.Get[string](t.Context(), object, "Num"); err == nil || !strings.Contains(err.Error(), "int") {
		t.Errorf("a field read as another type: %v", err)
	}
	if num, err := afar.Get[int](t.Context(), object, "Num"); num != 7 || err != nil {
		t.Errorf("the object after all that: Num is %d, error %v", num, err)
	}
}

// TestOwnerGone closes the server below an object.
func TestOwnerGone(t *testing.T) {
	pool, object := open(t)
	_ = pool.Close()
	if _, err := doStuff.On(object)(t.Context(), "yay"); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("method after the pool was closed: %v", err)
	}
}
