package main

import (
	"bytes"
	"context"
	"errors"
	"net/rpc"
	"sync/atomic"
	"time"
)

const nameNetRPC = "net/rpc (gob)"

// netRPCEcho is the service; net/rpc finds its methods by reflection.
type netRPCEcho struct{}

// Text gives back a string.
func (netRPCEcho) Text(in string, out *string) error { *out = in; return nil }

// Block gives back bytes.
func (netRPCEcho) Block(in []byte, out *[]byte) error { *out = in; return nil }

// A netRPCSink counts what it is given.
type netRPCSink struct{ taken atomic.Uint64 }

// Take takes a string. gob refuses empty structs, hence the results that say nothing.
func (s *netRPCSink) Take(string, *bool) error { s.taken.Add(1); return nil }

// Taken gives the number of strings since it was last asked.
func (s *netRPCSink) Taken(_ bool, n *uint64) error { *n = s.taken.Swap(0); return nil }

func serveNetRPC(l *link) error {
	s := rpc.NewServer()
	if err := s.RegisterName("Echo", netRPCEcho{}); err != nil {
		return err
	}
	s.ServeConn(l)
	return nil
}

func serveNetRPCFlow(l *link) error {
	s := rpc.NewServer()
	if err := s.RegisterName("Sink", new(netRPCSink)); err != nil {
		return err
	}
	s.ServeConn(l)
	return nil
}

// netRPCFlow is the nearest that net/rpc has to items one way: calls without a result, many at a time, which are not
// even handled in order.
func netRPCFlow(ctx context.Context, s *session) (*trial, error) {
	return trialWired(ctx, widePipes, "netrpc-flow", func(l *link) (*trial, error) {
		client := rpc.NewClient(l)
		return &trial{
			measure: func(context.Context) ([]float64, error) {
				begin := time.Now()
				sent, err := netRPCPour(client, s.span)
				if err != nil {
					return nil, err
				}
				var taken uint64
				if err := client.Call("Sink.Taken", false, &taken); err != nil {
					return nil, err
				}
				return one(smallFlow.rate(taken, begin), checkCount(taken, sent))
			},
			close: client.Close,
		}, nil
	})
}

// netRPCPour has 1,024 calls under way for span, and gives the number of calls once all have ended.
func netRPCPour(client *rpc.Client, span time.Duration) (uint64, error) {
	done := make(chan *rpc.Call, 1024)
	texts := textRing()
	sent, pending := uint64(0), 0
	var failure error
	for begin := time.Now(); sent == 0 || failure == nil && time.Since(begin) < span; {
		for ; pending < cap(done); pending++ {
			client.Go("Sink.Take", texts[sent%uint64(len(texts))], new(bool), done)
			sent++
		}
		failure = (<-done).Error
		pending--
	}
	for ; pending > 0; pending-- {
		failure = errors.Join(failure, (<-done).Error)
	}
	return sent, failure
}

// netRPCCalls lets n goroutines call over one connection.
func netRPCCalls(n int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialOver(ctx, "netrpc", func(l *link) (*trial, error) {
			client := rpc.NewClient(l)
			newCall := textEcho(func(_ context.Context, in string) (out string, err error) {
				err = client.Call("Echo.Text", in, &out)
				return out, err
			})
			return &trial{
				measure: func(ctx context.Context) ([]float64, error) { return one(callRate(ctx, n, s.span, newCall)) },
				close:   client.Close,
			}, nil
		})
	}
}

// netRPCBulk echoes blocks.
func netRPCBulk(ctx context.Context, s *session) (*trial, error) {
	return trialOver(ctx, "netrpc", func(l *link) (*trial, error) {
		client := rpc.NewClient(l)
		return &trial{
			measure: blockRate(s, func(_ context.Context, block []byte) error {
				var reply []byte
				if err := client.Call("Echo.Block", block, &reply); err != nil {
					return err
				}
				if !bytes.Equal(reply, block) {
					return errWrongReply
				}
				return nil
			}),
			close: client.Close,
		}, nil
	})
}
