package chaos_test

import (
	"path/filepath"
	"testing"

	"github.com/afar-go/afar/queue"
)

// A server goes and does not come back. A worker that is told to end, which has a task whose outcome it
// cannot tell anybody, ends all the same, once nobody would wait for that any more.
func TestGone(t *testing.T) {
	for _, kind := range []string{"redis", "nats"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			v := startServer(s, kind)
			q := queue.New(v.broker(), "gone")
			w := s.play(part{Role: "worker", Name: "w", URL: v.url(), Queue: "gone", Lease: lease}, nil)
			g := newGate(t, filepath.Join(s.dir, "gate"))
			_, err := queue.Submit(within(t), q, chore, order{N: 3, Gate: filepath.Join(s.dir, "gate")})
			must(t, err)
			g.await()
			v.process.kill()
			g.open()
			w.end(t)
		})
	}
}
