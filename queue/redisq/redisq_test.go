package redisq_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/queuetest"
	"github.com/afar-go/afar/queue/redisq"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a broker that is closed with the test.
func open(t testing.TB, url string) *redisq.Broker {
	t.Helper()
	b, err := redisq.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

// done settles deliveries of worker w.
func done(deliveries []queue.Delivery) []queue.Settlement {
	ends := make([]queue.Settlement, len(deliveries))
	for i, d := range deliveries {
		lease := queue.Lease{ID: d.ID, Token: d.Token}
		ends[i] = queue.Settlement{Lease: lease, Worker: "w", Ending: queue.EndDone, Outcome: []byte("12345678")}
	}
	return ends
}

func TestBroker(t *testing.T) {
	need(t, "redis-server")
	queuetest.Run(t, func(t *testing.T) *queuetest.Backend {
		s := startServer(t, durable...)
		a, b := startProxy(t, s.socket), startProxy(t, s.socket)
		return &queuetest.Backend{
			Clients: []queue.Broker{open(t, "redis://"+a.address()), open(t, "redis://"+b.address())},
			Durable: true,
			DropConnections: func() {
				a.drop()
				b.drop()
			},
			Slow: func(d time.Duration) {
				a.slow(d)
				b.slow(d)
			},
			Restart: s.restart,
			Kill:    s.kill,
			DamageBlob: func(queueName, hash string) {
				s.must("HSET", "afar:{"+queueName+"}:x:"+hash, "0", "other bytes")
			},
		}
	})
}
