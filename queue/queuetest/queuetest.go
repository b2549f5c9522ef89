// Package queuetest is what every broker of package queue has to pass: a story for
// each sentence of queue.Broker's contract, a model that random operations are
// compared with, and storms of submitters and workers whose ledger is audited, also
// while connections drop and the server restarts.
//
// A broker is plugged in with a function that opens a new, empty store:
//
//	func TestBroker(t *testing.T) {
//		queuetest.Run(t, func(t *testing.T) *queuetest.Backend {
//			server := startServer(t) // ended by t.Cleanup, as everything here
//			return &queuetest.Backend{
//				Clients:         []queue.Broker{open(t, server), open(t, server)},
//				Durable:         true,
//				DropConnections: server.dropConnections,
//				Restart:         server.restart,
//				Kill:            server.kill,
//			}
//		})
//	}
//
// Stories share one store, at the same time, each with a queue of its own; whatever
// hurts a store has one to itself. The suite waits for events and never for time to
// pass, apart from leases and delays of some hundred milliseconds. A failure of the
// model is written to testdata/rapid of the backend's package, and tried first from then
// on: delete it once it is understood.
package queuetest

import (
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
)

// Backend is an open, empty store, and what can be done to it. Only Clients is
// needed. Tests of what a nil function would do are skipped, but fail if the store is
// Durable: such a one can be hurt.
type Backend struct {
	// Clients are at least two brokers that use the store as programs on several hosts
	// do, with connections of their own. A store in memory gives the same one twice.
	// Who opens them closes them, with t.Cleanup.
	Clients []queue.Broker

	// Durable says that nothing which a method has returned for is lost by Kill.
	Durable bool

	// DropConnections cuts the connections that clients have now, all at once. It is
	// called from a goroutine of its own, while clients are in use.
	DropConnections func()
	// Slow makes everything that clients and the server say to each other take so
	// much longer from now on; zero ends that.
	Slow func(d time.Duration)
	// Restart ends the server as an operator would, and starts it again at the same
	// address with the same data. It returns when clients can connect.
	Restart func()
	// Kill is Restart of a server that is killed (SIGKILL) and has no time to say or
	// write anything.
	Kill func()
	// DamageBlob changes bytes of a blob where it is stored. It may be nil for any store.
	DamageBlob func(queueName, hash string)
}

// Run holds a broker to its contract. Open returns a new, empty store; what it starts
// ends with the test that it is given.
func Run(t *testing.T, open func(t *testing.T) *Backend) {
	t.Run("Story", func(t *testing.T) { tellAll(t, open(t)) })
	t.Run("Model", func(t *testing.T) { compareWithModel(t, open(t)) })
	t.Run("Fault", func(t *testing.T) { hurtAll(t, open) })
}

// tellAll runs all stories on one store, at the same time.
func tellAll(t *testing.T, b *Backend) {
	for _, chapter := range [][]story{
		submitStories, takeStories, waitStories, orderStories, leaseStories, settleStories, cancelStories, deadStories,
		topicStories, inspectStories, blobStories, limitStories, stormStories,
	} {
		for _, s := range chapter {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.tell(newStage(t, b))
			})
		}
	}
}
