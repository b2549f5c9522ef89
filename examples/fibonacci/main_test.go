package main

import (
	"bytes"
	"testing"

	"github.com/afar-go/afar"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	afar.Main()
	goleak.VerifyTestMain(m)
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), 30, &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "fibonacci(30) = 832040\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}
