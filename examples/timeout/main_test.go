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
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const want = `
6: 8 steps
7: 16 steps
0: timed out
27: 111 steps
97: 118 steps
the pool still works: from 871 it takes 178 steps
`
	if out.String() != want[1:] {
		t.Errorf("printed\n%s", &out)
	}
}
