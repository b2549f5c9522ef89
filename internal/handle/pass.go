package handle

import (
	"context"
	"errors"
	"io"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// passage is a stream that is on its way to what a handle names through this
// home.
type passage struct {
	from *mux.Stream // of the holder, or of the leg before
	lost Lost        // of its link
	to   *wire.Handle
	next *link
}

// run opens the next leg and passes on what both sides say until the stream has
// ended. Each leg has its own credit, so a reader that does not read stops its
// sender here too.
func (p *passage) run() {
	next, err := p.next.open(p.to)
	if err != nil {
		refuse(p.from, err)
		return
	}
	go func() {
		carryAll(p.from, next)
		follow(p.from, next, p.lost)
		drain(p.from)
	}()
	// The holder has given little credit, and so has the next leg. It gives more when
	// it wants to receive, and only then may the other side send more.
	go grant(p.from, next)
	carryAll(next, p.from)
	follow(next, p.from, p.next.lost)
}

// grant lets the other side send once the holder wants to receive, if it does.
func grant(holder, other *mux.Stream) {
	ctx, cancel := Until(other)
	defer cancel()
	if holder.Granted(ctx) == nil {
		other.Grant()
	}
}

// Until returns a context that ends with a stream.
func Until(s *mux.Stream) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-s.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// carryAll carries items until one of the streams is over or no more come. What
// was sent before an end arrives before it, however slowly it is received. An item
// that cannot be carried ends both.
func carryAll(from, to *mux.Stream) {
	for {
		switch err := carry(from, to); {
		case err == nil:
		case err == io.EOF:
			to.End()
			return
		default:
			if from.Err() == nil && to.Err() == nil {
				refuse(from, err) // too large for the other link
				refuse(to, err)
			}
			return
		}
	}
}

// carry takes one item from a stream and sends it on another. Both wake it when
// they end, the one when its items are used up.
func carry(from, to *mux.Stream) error {
	ctx := context.Background()
	item, owned, err := from.Take(ctx)
	if err != nil {
		return err
	}
	err = to.Send(ctx, item, nil)
	from.Release() // nobody else takes from it
	if owned {
		mux.Free(item)
	}
	return err
}

// follow ends a stream the way that another ends; lost is of that one's link.
func follow(lead, s *mux.Stream, lost Lost) {
	select {
	case <-lead.Done():
	case <-s.Done():
		return
	}
	var finished *mux.Finished
	if err := lead.Err(); errors.As(err, &finished) {
		s.Finish(finished.Payload)
	} else {
		refuse(s, How(err, lost))
	}
}

// drain drops what a holder sends to what is over. The holder does not know yet,
// since it has not received all, and must not wait for ever for room.
func drain(from *mux.Stream) {
	for {
		if _, _, err := from.Take(context.Background()); err != nil {
			return
		}
		from.Release()
	}
}
