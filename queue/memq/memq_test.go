package memq_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
	"github.com/afar-go/afar/queue/queuetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBroker(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) *queuetest.Backend {
		b := memq.New()
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		return &queuetest.Backend{Clients: []queue.Broker{b, b}, DamageBlob: b.DamageBlob}
	})
}
