package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/afar-go/afar"
)

// What takes items and says how many came, over and over, and what gives items for so many nanoseconds.
var (
	takeTexts  = afar.Routine(takeTextsRoutine)
	takeBytes  = afar.Routine(takeBytesRoutine)
	takeBlocks = afar.Routine(takeBlocksRoutine)
	takeReused = afar.Routine(takeReusedRoutine)
	takeInts   = afar.Routine(takeIntsRoutine)
	giveTexts  = afar.Routine(giveTextsRoutine)
	giveBytes  = afar.Routine(giveBytesRoutine)
	giveBlocks = afar.Routine(giveBlocksRoutine)
	giveInts   = afar.Routine(giveIntsRoutine)
	readAll    = afar.Routine(readAllRoutine)
	writeAll   = afar.Routine(writeAllRoutine)
)

func takeTextsRoutine(ctx context.Context, ch *afar.Channel[uint64, string]) error {
	return serveTake(ctx, ch, newTextItems)
}

func takeBytesRoutine(ctx context.Context, ch *afar.Channel[uint64, []byte]) error {
	return serveTake(ctx, ch, smallFlow.items)
}

func takeBlocksRoutine(ctx context.Context, ch *afar.Channel[uint64, []byte]) error {
	return serveTake(ctx, ch, largeFlow.items)
}

func takeReusedRoutine(ctx context.Context, ch *afar.Channel[uint64, []byte]) error {
	return serveTake(ctx, ch, reusedFlow.items)
}

func takeIntsRoutine(ctx context.Context, ch *afar.Channel[uint64, int]) error {
	return serveTake(ctx, ch, newIntItems)
}

func giveTextsRoutine(ctx context.Context, ch *afar.Channel[string, time.Duration]) error {
	return serveGive(ctx, ch, newTextItems)
}

func giveBytesRoutine(ctx context.Context, ch *afar.Channel[[]byte, time.Duration]) error {
	return serveGive(ctx, ch, smallFlow.items)
}

func giveBlocksRoutine(ctx context.Context, ch *afar.Channel[[]byte, time.Duration]) error {
	return serveGive(ctx, ch, largeFlow.items)
}

func giveIntsRoutine(ctx context.Context, ch *afar.Channel[int, time.Duration]) error {
	return serveGive(ctx, ch, newIntItems)
}

// items makes the items of a flow, numbered from 0, and checks them.
type items[T any] struct {
	make  func(number uint64) T // the item may change with the next call
	last  T
	check func(item T, number uint64) (ended bool, err error)
}

// newTextItems is strings. They are made beforehand, so that it is not their making that is measured.
func newTextItems() items[string] {
	texts := textRing()
	return items[string]{
		make: func(n uint64) string { return texts[n%uint64(len(texts))] },
		check: func(item string, n uint64) (bool, error) {
			if item == "" || item == texts[n%uint64(len(texts))] {
				return item == "", nil
			}
			return false, errWrongReply
		},
	}
}

// textRing gives as many strings as are needed for a lost one to be noticed.
var textRing = sync.OnceValue(func() []string {
	texts := make([]string, 1024)
	for i := range texts {
		texts[i] = text(i)
	}
	return texts
})

func newIntItems() items[int] {
	return items[int]{
		make: func(n uint64) int { return int(n) },
		last: -1,
		check: func(item int, n uint64) (bool, error) {
			if item == -1 || item == int(n) {
				return item == -1, nil
			}
			return false, errWrongReply
		},
	}
}

// items is the payloads of f, as on the bare transport.
func (f flow) items() items[[]byte] {
	buf, last := f.payload(), f.payload()
	setNumber(last, endNumber)
	d := drain{flow: f}
	return items[[]byte]{
		make: func(n uint64) []byte {
			setNumber(buf, n)
			return buf
		},
		last: last,
		check: func(item []byte, n uint64) (bool, error) {
			if len(item) != f.size {
				return false, fmt.Errorf("item of %d bytes, not of %d", len(item), f.size)
			}
			d.next = n
			_, err := d.Write(item)
			if f.reuse {
				afar.Recycle(item)
			}
			return d.ended, err
		},
	}
}

// take receives a flow and gives the number of its items.
func take[S, T any](ctx context.Context, ch *afar.Channel[S, T], k items[T]) (uint64, error) {
	for n := uint64(0); ; n++ {
		item, err := ch.Recv(ctx)
		if err != nil {
			return n, err
		}
		if ended, err := k.check(item, n); ended || err != nil {
			return n, err
		}
	}
}

// timeCheck is how many small items are sent between two looks at the clock.
const timeCheck = 64

// give sends items for span and then the one that ends the flow.
func give[T, R any](ctx context.Context, ch *afar.Channel[T, R], k items[T], span time.Duration) (uint64, error) {
	n := uint64(0)
	for begin := time.Now(); n%timeCheck != 0 || n == 0 || time.Since(begin) < span; n++ {
		if err := ch.Send(ctx, k.make(n)); err != nil {
			return n, err
		}
	}
	return n, ch.Send(ctx, k.last)
}

// serveTake takes one flow after the other, until the caller has no more.
func serveTake[T any](ctx context.Context, ch *afar.Channel[uint64, T], newItems func() items[T]) error {
	for {
		n, err := take(ctx, ch, newItems())
		if err == io.EOF && n == 0 {
			return nil
		}
		if err == nil {
			err = ch.Send(ctx, n)
		}
		if err != nil {
			return err
		}
	}
}

// serveGive gives one flow for each span that it receives.
func serveGive[T any](ctx context.Context, ch *afar.Channel[T, time.Duration], newItems func() items[T]) error {
	for span, err := range ch.All(ctx) {
		if err == nil {
			_, err = give(ctx, ch, newItems(), span)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// afarTexts is small strings.
func afarTexts(way direction) opener {
	return afarFlow(way, smallFlow.worth, newTextItems, takeTexts, giveTexts)
}

// afarInts is ints, which are a tenth as large.
func afarInts(way direction) opener {
	return afarFlow(way, smallFlow.worth, newIntItems, takeInts, giveInts)
}

// afarBytes is []byte.
func afarBytes(way direction, f flow) opener {
	switch f {
	case largeFlow:
		return afarFlow(way, f.worth, f.items, takeBlocks, giveBlocks)
	case reusedFlow:
		return afarFlow(way, f.worth, f.items, takeReused, giveBlocks)
	}
	return afarFlow(way, f.worth, f.items, takeBytes, giveBytes)
}

// afarFlow has flows over one channel, to a routine that takes or from one that gives.
func afarFlow[T any](
	way direction, worth float64, newItems func() items[T],
	taker *afar.RoutineOf[T, uint64], giver *afar.RoutineOf[time.Duration, T],
) opener {
	f := flow{worth: worth}
	return func(ctx context.Context, s *session) (*trial, error) {
		if way == inward {
			return trialTalking(ctx, giver, func(ch *afar.Channel[time.Duration, T]) *trial {
				return &trial{measure: func(ctx context.Context) ([]float64, error) {
					begin := time.Now()
					if err := ch.Send(ctx, s.span); err != nil {
						return nil, err
					}
					n, err := take(ctx, ch, newItems())
					return one(f.rate(n, begin), err)
				}}
			})
		}
		return trialTalking(ctx, taker, func(ch *afar.Channel[T, uint64]) *trial {
			return &trial{measure: func(ctx context.Context) ([]float64, error) {
				begin := time.Now()
				sent, err := give(ctx, ch, newItems(), s.span)
				if err != nil {
					return nil, err
				}
				received, err := ch.Recv(ctx)
				if err == nil {
					err = checkCount(received, sent)
				}
				return one(f.rate(received, begin), err)
			}}
		})
	}
}

// trialTalking gives a trial on a channel to a routine in a new worker.
func trialTalking[In, Out any](
	ctx context.Context, r *afar.RoutineOf[In, Out], make func(ch *afar.Channel[In, Out]) *trial,
) (*trial, error) {
	p, err := afar.Open(ctx, "local:1")
	if err != nil {
		return nil, err
	}
	ch, err := r.Start(ctx, p)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	t := make(ch)
	t.close = func() error { return errors.Join(ch.Close(), p.Close()) }
	return t, nil
}

// afarReaderWriter is large items through an io.Writer and an io.WriterTo, in a new channel each time, since what
// these carry ends with the channel.
func afarReaderWriter(way direction) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialOn(ctx, afar.Config{}, "local:1", func(p *afar.Pool) *trial {
			return &trial{measure: func(ctx context.Context) ([]float64, error) {
				if way == inward {
					return readFlow(ctx, p, s.span)
				}
				return writeFlow(ctx, p, s.span)
			}}
		})
	}
}

// writeFlow writes a flow to a routine that reads it.
func writeFlow(ctx context.Context, p *afar.Pool, span time.Duration) ([]float64, error) {
	ch, err := readAll.Start(ctx, p)
	if err != nil {
		return nil, err
	}
	defer ch.Close()
	begin := time.Now()
	w := afar.NewWriter(ch)
	sent, err := largeFlow.pour(w, span)
	if err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	received, err := ch.Recv(ctx)
	if err == nil {
		err = checkCount(received, sent)
	}
	return one(largeFlow.rate(received, begin), err)
}

func readAllRoutine(ctx context.Context, ch *afar.Channel[uint64, []byte]) error {
	n, err := drainReader(ch)
	if err != nil {
		return err
	}
	return ch.Send(ctx, n)
}

// readFlow reads a flow from a routine that writes it.
func readFlow(ctx context.Context, p *afar.Pool, span time.Duration) ([]float64, error) {
	ch, err := writeAll.Start(ctx, p)
	if err != nil {
		return nil, err
	}
	defer ch.Close()
	begin := time.Now()
	if err := ch.Send(ctx, span); err != nil {
		return nil, err
	}
	n, err := drainReader(ch)
	return one(largeFlow.rate(n, begin), err)
}

func writeAllRoutine(ctx context.Context, ch *afar.Channel[[]byte, time.Duration]) error {
	span, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	w := afar.NewWriter(ch)
	if _, err := largeFlow.pour(w, span); err != nil {
		return err
	}
	return w.Close()
}

// drainReader reads a flow of large items and gives the number of its payloads.
func drainReader[S any](ch *afar.Channel[S, []byte]) (uint64, error) {
	d := drain{flow: largeFlow}
	if _, err := afar.NewReader(ch).WriteTo(&d); err != nil {
		return 0, err
	}
	if !d.ended {
		return 0, io.ErrUnexpectedEOF
	}
	return d.next, nil
}
