package channel

import (
	"context"
	"fmt"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// Body is a routine, as registry.Function's Body.
type Body func(ctx context.Context, e *End) error

// Host runs the routines that a worker's caller starts.
type Host struct {
	Base      context.Context // of all routines; ends with the link
	Conn      *peer.Conn
	Functions []*registry.Function
	Limit     func() int64 // bytes of an item
}

// Start takes a stream that was opened for a routine, of which info is what the
// purpose says; the link's reader calls it.
func (h *Host) Start(s *mux.Stream, rest *wire.Reader) error {
	info, err := wire.ParseInfo(rest)
	if err != nil {
		return err
	}
	if info.Function >= len(h.Functions) || h.Functions[info.Function].Kind != registry.Routine {
		return fmt.Errorf("%w: function %d of %d is not a routine", wire.ErrMalformed, info.Function, len(h.Functions))
	}
	f := h.Functions[info.Function]
	ctx, cancel := peer.StreamContext(h.Base, s, info.Remaining)
	r := peer.NewRunning(ctx, h.Conn, f.Name, info, s.ID(), 0)
	e := New(s, Config{Kind: Routine, Name: "the caller of " + f.Name, Limit: h.Limit()})
	go peer.Guard(func() error { return f.Body.(Body)(r, e) }, func(err error) {
		logged := r.Logged()
		e.retire()
		if err == nil {
			cancel(peer.ErrReturned)
		} else {
			cancel(err)
		}
		r.Ended(err)
		e.returned(err, logged)
	})
	return nil
}
