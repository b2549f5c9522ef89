package natsq_test

import (
	"testing"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/natsq"
	"github.com/afar-go/afar/queue/queuetest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// embedded opens a broker with a server of its own, which ends with the test.
func embedded(t testing.TB, c natsq.Config) *natsq.Broker {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	b, err := c.Embedded(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	return b
}

// A server inside the process, used by that process.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func(t *testing.T) *queuetest.Backend {
		b := embedded(t, natsq.Config{})
		return &queuetest.Backend{Clients: []queue.Broker{b, b}}
	})
}
