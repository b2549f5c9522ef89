package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/afar-go/afar"
)

// ringWorkers is how many processes an item goes through.
const ringWorkers = 3

// ring is items that go from the caller through three workers, one after the other, and back to the caller. The
// workers know their successors by handles; all ways between them lead through the caller.
func ring() experiment {
	return experiment{
		figures: []figure{{
			name: "ring", title: "strings of 64 B through three routines that hold handles on their successors, local:3",
			unit: "items/s", targets: []target{{over: nameYamuxItems, bound: 1}},
		}},
		contenders: []contender{
			{nameAfar, afarRing(parcelItems, packParcel, handOn, giveBack)},
			{"afar, []byte", afarRing(smallFlow.items, packBytes, handOnBytes, giveBackBytes)},
			{nameRaw, bareRing("raw-echo", smallFlow, bareEnd)},
			{nameYamuxItems, bareRing("yamux-long-lane", smallItems, yamuxEnd)},
			{nameYamuxWrites, bareRing("yamux-long-lane", smallFlow, yamuxEnd)},
		},
	}
}

// A parcel is what the routines hand on: first the handle on the successor, then the items.
type parcel struct {
	Next afar.ChannelRef[parcel, parcel]
	Text string
}

var (
	handOn        = afar.Routine(handOnRoutine)
	giveBack      = afar.Routine(giveBackRoutine)
	handOnBytes   = afar.Routine(handOnBytesRoutine)
	giveBackBytes = afar.Routine(giveBackBytesRoutine)
)

func handOnRoutine(ctx context.Context, ch *afar.Channel[parcel, parcel]) error {
	return serveHandOn(ctx, ch, func(p parcel) (afar.ChannelRef[parcel, parcel], error) { return p.Next, nil })
}

func handOnBytesRoutine(ctx context.Context, ch *afar.Channel[[]byte, []byte]) error {
	return serveHandOn(ctx, ch, func(b []byte) (r afar.ChannelRef[[]byte, []byte], err error) {
		err = r.UnmarshalBinary(b)
		return r, err
	})
}

func giveBackRoutine(ctx context.Context, ch *afar.Channel[parcel, parcel]) error {
	return echoAll(ctx, ch)
}
func giveBackBytesRoutine(ctx context.Context, ch *afar.Channel[[]byte, []byte]) error {
	return echoAll(ctx, ch)
}

// parcelItems is the strings of newTextItems, in parcels without a handle.
func parcelItems() items[parcel] {
	texts := newTextItems()
	return items[parcel]{
		make:  func(n uint64) parcel { return parcel{Text: texts.make(n)} },
		check: func(item parcel, n uint64) (bool, error) { return texts.check(item.Text, n) },
	}
}

func packParcel(r afar.ChannelRef[parcel, parcel]) (parcel, error) { return parcel{Next: r}, nil }

// packBytes gives a handle in its encoded form, so that no item needs a place for one: what is left is the way of
// the items.
func packBytes(r afar.ChannelRef[[]byte, []byte]) ([]byte, error) { return r.MarshalBinary() }

// serveHandOn sends what it receives to its successor, the handle on which is in the first item.
func serveHandOn[T any](
	ctx context.Context, ch *afar.Channel[T, T], unpack func(T) (afar.ChannelRef[T, T], error),
) error {
	first, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	ref, err := unpack(first)
	if err != nil {
		return err
	}
	next, err := ref.Bind(ctx)
	if err != nil {
		return err
	}
	// It is not closed here: the successor must learn of a failure, and closing in order would hide that.
	for item, err := range ch.All(ctx) {
		if err == nil {
			err = next.Send(ctx, item)
		}
		if err != nil {
			return err
		}
	}
	return next.CloseSend()
}

// afarRing opens the ring from its end, since a handle needs what it is on.
func afarRing[T any](
	newItems func() items[T], pack func(afar.ChannelRef[T, T]) (T, error), handOn, giveBack *afar.RoutineOf[T, T],
) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		p, err := afar.Open(ctx, fmt.Sprint("local:", ringWorkers))
		if err != nil {
			return nil, err
		}
		channels, err := openRing(ctx, p, pack, handOn, giveBack)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		first, last := channels[0], channels[ringWorkers-1]
		return &trial{
			measure: func(ctx context.Context) ([]float64, error) {
				begin := time.Now()
				received, err := passRound(
					func() (uint64, error) { return give(ctx, first, newItems(), s.span) },
					func() (uint64, error) { return take(ctx, last, newItems()) },
					p.Close)
				return one(smallFlow.rate(received, begin), err)
			},
			close: func() error {
				err := p.Close()
				// A channel that nobody refers to any more is closed, and the handles on it are good for nothing.
				runtime.KeepAlive(channels)
				return err
			},
		}, nil
	}
}

// openRing gives the channels to the routines, in the order in which items pass them.
func openRing[T any](
	ctx context.Context, p *afar.Pool, pack func(afar.ChannelRef[T, T]) (T, error), handOn, giveBack *afar.RoutineOf[T, T],
) ([]*afar.Channel[T, T], error) {
	workers := p.Gateways()
	channels := make([]*afar.Channel[T, T], ringWorkers)
	var err error
	if channels[ringWorkers-1], err = giveBack.Start(ctx, workers[ringWorkers-1]); err != nil {
		return nil, err
	}
	for i := ringWorkers - 2; i >= 0; i-- {
		if channels[i], err = handOn.Start(ctx, workers[i]); err != nil {
			return nil, err
		}
		first, err := pack(channels[i+1].Ref())
		if err != nil {
			return nil, err
		}
		if err := channels[i].Send(ctx, first); err != nil {
			return nil, err
		}
	}
	return channels, nil
}

// passRound sends and receives at the same time, and gives the number of what came. cut must make a blocked send
// return.
func passRound(send, receive func() (uint64, error), cut func() error) (uint64, error) {
	var sending sync.WaitGroup
	var sent uint64
	var sendErr error
	sending.Go(func() {
		if sent, sendErr = send(); sendErr != nil {
			cut()
		}
	})
	received, err := receive()
	if err != nil {
		cut()
	}
	sending.Wait()
	if err := errors.Join(err, sendErr); err != nil {
		return received, err
	}
	return received, checkCount(received, sent)
}

// A ringEnd is this side of one process of a bare ring: what is written to it comes back.
type ringEnd struct {
	io.ReadWriter
	close func() error
}

func bareEnd(l *link) (ringEnd, error) { return ringEnd{l, l.Close}, nil }

func yamuxEnd(l *link) (ringEnd, error) {
	client, stream, err := openYamuxStream(l)
	if err != nil {
		return ringEnd{}, err
	}
	return ringEnd{stream, client.Close}, nil
}

// A chain is a bare ring's processes, of which what each echoes is copied to the next.
type chain struct {
	links   []*link
	ends    []ringEnd
	copying sync.WaitGroup
}

// bareRing sends a flow as bytes through processes that echo.
func bareRing(server string, f flow, open func(l *link) (ringEnd, error)) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		c := &chain{}
		for range ringWorkers {
			if err := c.add(ctx, server, open); err != nil {
				return nil, errors.Join(err, c.stop())
			}
		}
		first, last := c.ends[0], c.ends[ringWorkers-1]
		return &trial{
			measure: func(context.Context) ([]float64, error) {
				begin := time.Now()
				d := drain{flow: f}
				received, err := passRound(
					func() (uint64, error) { return f.pour(first, s.span) },
					func() (uint64, error) { err := d.readFrom(last); return d.next, err },
					c.stop)
				return one(f.rate(received, begin), err)
			},
			close: c.stop,
		}, nil
	}
}

// add starts one more process. The chain must be stopped even when that fails.
func (c *chain) add(ctx context.Context, server string, open func(l *link) (ringEnd, error)) error {
	l, err := openWired(ctx, widePipes, server)
	if err != nil {
		return err
	}
	c.links = append(c.links, l)
	end, err := open(l)
	if err != nil {
		return err
	}
	if n := len(c.ends); n > 0 {
		before := c.ends[n-1]
		c.copying.Go(func() {
			// It ends with the links; what is missing then is missed by the receiver. Only Read and Write are shown to
			// io.Copy, lest it takes a shorter way than bytes have to take.
			io.CopyBuffer(struct{ io.Writer }{end}, struct{ io.Reader }{before}, make([]byte, 64<<10))
		})
	}
	c.ends = append(c.ends, end)
	return nil
}

// stop may be called more than once, also while something is sent or received, which fails then.
func (c *chain) stop() error {
	var errs []error
	for _, e := range c.ends {
		errs = append(errs, e.close())
	}
	err := errors.Join(append(errs, stopLinks(c.links))...)
	c.copying.Wait()
	return err
}
