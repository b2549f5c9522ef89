package conversation

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/afar-go/afar/internal/channel"
	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/object"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// Host takes the streams that a worker's caller opens.
type Host struct {
	home     *handle.Home
	conn     *peer.Conn
	limit    atomic.Int64 // bytes of an item, once the caller has said
	routines channel.Host
	objects  object.Host
}

// NewHost returns a host in a home. Its Greeted and Stream are to be those of
// the link's peer.Config, and Bind must be called before the link starts.
func NewHost(home *handle.Home) *Host { return &Host{home: home} }

// Bind sets the link, the context of all that runs, which ends with it, and
// what can run.
func (h *Host) Bind(base context.Context, conn *peer.Conn, functions []*registry.Function) {
	h.conn = conn
	h.routines = channel.Host{Base: base, Conn: conn, Functions: functions, Limit: h.limit.Load}
	h.objects = object.Host{Base: base, Conn: conn, Home: h.home, Functions: functions, Limit: h.limit.Load}
}

// Greeted takes the caller's hello.
func (h *Host) Greeted(hello *wire.Hello) {
	h.limit.Store(hello.MaxItem)
	h.home.Settle(hello.Home, h.conn)
}

// Stream takes a stream.
func (h *Host) Stream(s *mux.Stream, purpose byte, rest *wire.Reader) error {
	switch purpose {
	case wire.PurposeRoutine:
		return h.routines.Start(s, rest)
	case wire.PurposeObject:
		return h.objects.Create(s, rest)
	}
	return Passage(h.home)(s, purpose, rest)
}

// Passage takes the streams that handles lead into a process or through it: of a
// caller, who has no routines and objects, all that are opened.
func Passage(home *handle.Home) func(*mux.Stream, byte, *wire.Reader) error {
	return func(s *mux.Stream, purpose byte, rest *wire.Reader) error {
		if purpose != wire.PurposeHandle {
			return fmt.Errorf("no use for a stream of purpose %d", purpose)
		}
		return home.Accept(s, rest)
	}
}
