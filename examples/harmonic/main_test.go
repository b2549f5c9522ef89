package main

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/afar-go/afar"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	afar.Main()
	goleak.VerifyTestMain(m)
}

func TestRun(t *testing.T) {
	for _, target := range []string{"inproc:2", "local:2"} {
		t.Run(target, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(t.Context(), target, 300, &out); err != nil {
				t.Fatal(err)
			}
			want := regexp.MustCompile(`^plain loop: 300 sums in \S+
afar's Map: 300 sums in \S+ on ` + target + `
the results are equal
$`)
			if !want.Match(out.Bytes()) {
				t.Errorf("printed\n%s", &out)
			}
		})
	}
}

func TestSumTo(t *testing.T) {
	sum, err := sumTo(t.Context(), 4)
	if err != nil || sum.String() != "25/12" {
		t.Errorf("1 + 1/2 + 1/3 + 1/4 = %v, error %v", sum, err)
	}
}
