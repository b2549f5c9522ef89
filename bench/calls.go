package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// serialCalls is one caller that waits for each reply before the next call.
func serialCalls() experiment {
	return experiment{
		figures: []figure{{
			name: "serial", title: "serial calls, a string of 64 B echoed, local:1", unit: "calls/s",
			targets: []target{{over: nameRaw, bound: 0.45}, {over: nameRaw, bound: 1, stretch: true}},
		}},
		contenders: []contender{
			{nameAfar, afarCalls(1, 0)},
			{nameRaw, rawSerial(pipes, "raw-echo", false)},
			{"raw, both sides spinning", rawSerial(pipes, "raw-spin", true)},
			{nameNetRPC, netRPCCalls(1)},
			{nameGRPCUnary, grpcCalls(1)},
			{nameGRPCStream, grpcStream(1)},
			{nameYamuxPerCall, yamuxCalls(1)},
			{nameYamuxLong, yamuxLong(1)},
		},
	}
}

// concurrentCalls is n goroutines that call in a loop. The one-stream rivals are given more: a sender and a
// receiver with n messages under way, without a goroutine to wake for each.
func concurrentCalls(n int) experiment {
	var targets []target
	if n == 64 {
		targets = []target{{over: nameNetRPC, bound: 3}, {over: nameGRPCUnary, bound: 8}}
	}
	return experiment{
		figures: []figure{{
			name:  fmt.Sprintf("calls%d", n),
			title: fmt.Sprintf("%d calls in flight, a string of 64 B echoed, local:1", n),
			unit:  "calls/s", targets: targets,
		}},
		contenders: []contender{
			{nameAfar, afarCalls(n, 0)},
			{fmt.Sprintf("afar, Concurrency %d", n), afarCalls(n, n)},
			{nameRaw, rawConcurrent(n)},
			{nameNetRPC, netRPCCalls(n)},
			{nameGRPCUnary, grpcCalls(n)},
			{nameGRPCStream, grpcStream(n)},
			{nameYamuxPerCall, yamuxCalls(n)},
			{nameYamuxLong, yamuxLong(n)},
		},
	}
}

// errWrongReply says that a call gave back something else than it was given.
var errWrongReply = errors.New("a reply differs from what was sent")

// message gives the number i as a payload of messageSize.
func message(i int) []byte {
	b := bytes.Repeat([]byte{'.'}, messageSize)
	binary.LittleEndian.PutUint64(b, uint64(i))
	return b
}

// text gives the number i as a string of messageSize.
func text(i int) string { return fmt.Sprintf("%0*d", messageSize, i) }

// textEcho gives callRate's goroutines a call each that has a string of messageSize echoed.
func textEcho(echo func(ctx context.Context, s string) (string, error)) func(i int) func(context.Context) error {
	return func(i int) func(context.Context) error {
		payload := text(i)
		return func(ctx context.Context) error {
			reply, err := echo(ctx, payload)
			if err != nil {
				return err
			}
			if reply != payload {
				return errWrongReply
			}
			return nil
		}
	}
}

// callRate lets n goroutines call in a loop for span and gives calls per second. newCall gives the i-th
// goroutine its call, which must check the reply. The first error ends the measurement.
func callRate(
	ctx context.Context, n int, span time.Duration, newCall func(i int) func(ctx context.Context) error,
) (float64, error) {
	var stopped atomic.Bool
	var calls atomic.Int64
	errs := make([]error, n)
	begin := time.Now()
	timer := time.AfterFunc(span, func() { stopped.Store(true) })
	defer timer.Stop()
	var callers sync.WaitGroup
	for i := range n {
		call := newCall(i)
		callers.Go(func() {
			done := int64(0)
			for errs[i] == nil && (done == 0 || !stopped.Load()) {
				errs[i] = call(ctx)
				done++
			}
			calls.Add(done)
			if errs[i] != nil {
				stopped.Store(true)
			}
		})
	}
	callers.Wait()
	elapsed := time.Since(begin)
	return float64(calls.Load()) / elapsed.Seconds(), errors.Join(errs...)
}

// A lane carries numbered messages one way after the other and gives them back in the same order.
type lane interface {
	send(i uint64) error
	receive(i uint64) error // checks that it was the i-th
}

// windowRate keeps n messages in a lane for span and gives messages per second. cut must make a blocked receive
// return. With n = 1 it is a ping-pong in one goroutine.
func windowRate(ctx context.Context, n int, span time.Duration, cut func() error, l lane) (float64, error) {
	begin := time.Now()
	if n == 1 {
		i := uint64(0)
		for ; i == 0 || time.Since(begin) < span; i++ {
			if err := l.send(i); err != nil {
				return 0, err
			}
			if err := l.receive(i); err != nil {
				return 0, err
			}
		}
		return float64(i) / time.Since(begin).Seconds(), ctx.Err()
	}
	var stopped atomic.Bool
	timer := time.AfterFunc(span, func() { stopped.Store(true) })
	defer timer.Stop()
	var sending sync.WaitGroup
	var sendErr error
	// The receiver holds one place, so n are in flight.
	places := make(chan struct{}, n-1)
	sending.Go(func() {
		defer close(places)
		for i := uint64(0); i == 0 || !stopped.Load(); i++ {
			places <- struct{}{}
			if sendErr = l.send(i); sendErr != nil {
				cut()
				return
			}
		}
	})
	received := uint64(0)
	var receiveErr error
	for range places {
		if receiveErr == nil {
			if receiveErr = l.receive(received); receiveErr != nil {
				stopped.Store(true)
				cut()
			}
			received++
		}
	}
	elapsed := time.Since(begin)
	sending.Wait()
	return float64(received) / elapsed.Seconds(), errors.Join(sendErr, receiveErr)
}

// A messageLane sends messages of messageSize over a byte stream, one write each.
type messageLane struct {
	r io.Reader
	w io.Writer
	// Arrays of their own would escape with every call.
	out, in []byte
}

func newMessageLane(r io.Reader, w io.Writer) *messageLane {
	return &messageLane{r: r, w: w, out: message(0), in: make([]byte, messageSize)}
}

func (l *messageLane) send(i uint64) error {
	binary.LittleEndian.PutUint64(l.out, i)
	_, err := l.w.Write(l.out)
	return err
}

func (l *messageLane) receive(i uint64) error {
	if _, err := io.ReadFull(l.r, l.in); err != nil {
		return err
	}
	if binary.LittleEndian.Uint64(l.in) != i || l.in[messageSize-1] != '.' {
		return errWrongReply
	}
	return nil
}

// one wraps the value of an experiment with one figure.
func one(v float64, err error) ([]float64, error) { return []float64{v}, err }
