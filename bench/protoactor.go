package main

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const nameProtoactor = "protoactor remote (TCP)"

// protoactorEcho is the name of the actor that is called.
const protoactorEcho = "echo"

// A protoactorOrder asks a calling process to call.
type protoactorOrder struct {
	Address string // of the actor system to call
	Callers int
	Span    time.Duration
}

// A protoactorAnswer is what became of an order.
type protoactorAnswer struct {
	Rate float64 // calls per second
	Err  string
}

// openProtoactor starts an actor system that others reach by TCP on the loopback device; it can do no other.
func openProtoactor() (*actor.ActorSystem, *remote.Remote) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }))
	r := remote.NewRemote(system, remote.Configure("127.0.0.1", 0))
	r.Start()
	return system, r
}

// serveProtoactor has an actor that gives back strings, says where, and waits for the end of its input.
func serveProtoactor(l *link) error {
	system, r := openProtoactor()
	defer r.Shutdown(false)
	props := actor.PropsFromFunc(func(c actor.Context) {
		if m, ok := c.Message().(*wrapperspb.StringValue); ok {
			c.Respond(m)
		}
	})
	if _, err := system.Root.SpawnNamed(props, protoactorEcho); err != nil {
		return err
	}
	if err := gob.NewEncoder(l).Encode(system.Address()); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, l)
	return err
}

// serveProtoactorCaller calls as it is ordered. It has a process of its own, because protoactor sets gRPC's logger
// for a whole process and ends goroutines when it likes.
func serveProtoactorCaller(l *link) error {
	system, r := openProtoactor()
	defer r.Shutdown(false)
	orders, answers := gob.NewDecoder(l), gob.NewEncoder(l)
	for {
		var o protoactorOrder
		if err := orders.Decode(&o); err != nil {
			return err
		}
		to := actor.NewPID(o.Address, protoactorEcho)
		call := textEcho(func(_ context.Context, s string) (string, error) {
			reply, err := system.Root.RequestFuture(to, wrapperspb.String(s), patience).Result()
			if err != nil {
				return "", err
			}
			m, ok := reply.(*wrapperspb.StringValue)
			if !ok {
				return "", fmt.Errorf("the reply is a %T", reply)
			}
			return m.GetValue(), nil
		})
		rate, err := callRate(context.Background(), o.Callers, o.Span, call)
		a := protoactorAnswer{Rate: rate}
		if err != nil {
			a.Err = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

// protoactorCalls lets n goroutines of one process call an actor in another.
func protoactorCalls(n int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		far, err := openLink(ctx, "protoactor")
		if err != nil {
			return nil, err
		}
		near, err := openLink(ctx, "protoactor-caller")
		if err != nil {
			return nil, errors.Join(err, far.stop())
		}
		stop := func() error { return stopLinks([]*link{near, far}) }
		order := protoactorOrder{Callers: n, Span: s.span}
		if err := gob.NewDecoder(far).Decode(&order.Address); err != nil {
			return nil, errors.Join(err, stop())
		}
		orders, answers := gob.NewEncoder(near), gob.NewDecoder(near)
		return &trial{
			measure: func(context.Context) ([]float64, error) {
				if err := orders.Encode(order); err != nil {
					return nil, err
				}
				var a protoactorAnswer
				if err := answers.Decode(&a); err != nil {
					return nil, err
				}
				if a.Err != "" {
					return nil, errors.New(a.Err)
				}
				return one(a.Rate, nil)
			},
			close: stop,
		}, nil
	}
}
