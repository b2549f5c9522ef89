package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/afar-go/afar"
)

// echo is one item to a routine and one back, over and over.
func echo() experiment {
	return experiment{
		figures: []figure{{
			name: "echo", title: "serial echo over a channel, a string of 64 B, local:1", unit: "echoes/s",
			targets: []target{{over: nameNetRPC, bound: 1}, {over: nameYamuxLong, bound: 1}},
		}},
		contenders: []contender{
			{nameAfar, afarEcho},
			{"afar, a call", afarCalls(1, 0)},
			{nameRaw, rawSerial(pipes, "raw-echo", false)},
			{"raw, both sides spinning", rawSerial(pipes, "raw-spin", true)},
			{nameNetRPC, netRPCCalls(1)},
			{nameGRPCStream, grpcStream(1)},
			{nameYamuxLong, yamuxLong(1)},
		},
	}
}

// methodCalls is n goroutines that call a method of one object in a loop.
func methodCalls(n int) experiment {
	name, title := "methods", "serial calls of a method of one object, a string of 64 B echoed, local:1"
	raw := rawSerial(pipes, "raw-echo", false)
	if n > 1 {
		name = fmt.Sprintf("methods%d", n)
		title = fmt.Sprintf("%d calls in flight of a method of one object, a string of 64 B echoed, local:1", n)
		raw = rawConcurrent(n)
	}
	e := experiment{
		figures: []figure{{
			name: name, title: title, unit: "calls/s",
			targets: []target{{over: nameNetRPC, bound: 1}, {over: nameProtoactor, bound: 1}, {over: nameXMLRPC, bound: 1}},
		}},
		contenders: []contender{
			{nameAfar, afarMethods(n, parrots)},
			{"afar, a concurrent class", afarMethods(n, flocks)},
			{"afar, a call", afarCalls(n, 0)},
			{nameRaw, raw},
			{nameNetRPC, netRPCCalls(n)},
			{nameProtoactor, protoactorCalls(n)},
			{nameXMLRPC, xmlrpcCalls(n)},
		},
	}
	if n == 1 {
		e.contenders = append(e.contenders, contender{"raw, TCP loopback", rawSerial(loopback, "raw-echo", false)})
	}
	return e
}

var (
	echoItems = afar.Routine(echoItemsRoutine)
	parrots   = afar.Class(newParrot)
	flocks    = afar.Class(newFlock).Concurrent()
	say       = afar.Method((*parrot).Say)
)

func echoItemsRoutine(ctx context.Context, ch *afar.Channel[string, string]) error {
	return echoAll(ctx, ch)
}

// echoAll sends back what it receives.
func echoAll[T any](ctx context.Context, ch *afar.Channel[T, T]) error {
	for item, err := range ch.All(ctx) {
		if err == nil {
			err = ch.Send(ctx, item)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A parrot is an object.
type parrot struct{}

func newParrot(context.Context, struct{}) (*parrot, error) { return &parrot{}, nil }
func newFlock(context.Context, struct{}) (*parrot, error)  { return &parrot{}, nil }

// Say gives back a string.
func (*parrot) Say(_ context.Context, s string) (string, error) { return s, nil }

// afarEcho sends an item and receives it.
func afarEcho(ctx context.Context, s *session) (*trial, error) {
	return trialTalking(ctx, echoItems, func(ch *afar.Channel[string, string]) *trial {
		return &trial{measure: func(ctx context.Context) ([]float64, error) {
			return one(callRate(ctx, 1, s.span, textEcho(func(ctx context.Context, s string) (string, error) {
				if err := ch.Send(ctx, s); err != nil {
					return "", err
				}
				return ch.Recv(ctx)
			})))
		}}
	})
}

// afarMethods lets n goroutines call one object.
func afarMethods(n int, class *afar.ClassOf[parrot, struct{}]) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		p, err := afar.Open(ctx, "local:1")
		if err != nil {
			return nil, err
		}
		o, err := class.New(ctx, p, struct{}{})
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		call := textEcho(say.On(o))
		return &trial{
			measure: func(ctx context.Context) ([]float64, error) { return one(callRate(ctx, n, s.span, call)) },
			close:   func() error { return errors.Join(o.Close(), p.Close()) },
		}, nil
	}
}
