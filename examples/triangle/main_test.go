package main

import (
	"bytes"
	"fmt"
	"regexp"
	"testing"

	"github.com/afar-go/afar"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	afar.Main()
	goleak.VerifyTestMain(m)
}

// Every message passes the far corner, then the near one; they are two processes.
func TestMessagesGoAround(t *testing.T) {
	for _, far := range []string{"local:1", "exec:sh"} {
		var out bytes.Buffer
		if err := run(t.Context(), "local:1", far, 3, &out); err != nil {
			t.Fatalf("%s: %v", far, err)
		}
		ways := regexp.MustCompile(`message (\d) -> .*:(\d+) -> .*:(\d+) -> here`).FindAllStringSubmatch(out.String(), -1)
		if len(ways) != 3 {
			t.Fatalf("%s: printed\n%s", far, &out)
		}
		for i, w := range ways {
			if w[1] != fmt.Sprint(i+1) || w[2] == w[3] || w[2] != ways[0][2] || w[3] != ways[0][3] {
				t.Errorf("%s: %s", far, w[0])
			}
		}
	}
}
