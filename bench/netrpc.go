package main

import (
	"bytes"
	"context"
	"net/rpc"
)

const nameNetRPC = "net/rpc (gob)"

// netRPCEcho is the service; net/rpc finds its methods by reflection.
type netRPCEcho struct{}

// Text gives back a string.
func (netRPCEcho) Text(in string, out *string) error { *out = in; return nil }

// Block gives back bytes.
func (netRPCEcho) Block(in []byte, out *[]byte) error { *out = in; return nil }

func serveNetRPC(l *link) error {
	s := rpc.NewServer()
	if err := s.RegisterName("Echo", netRPCEcho{}); err != nil {
		return err
	}
	s.ServeConn(l)
	return nil
}

// netRPCCalls lets n goroutines call over one connection.
func netRPCCalls(n int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialOver(ctx, "netrpc", func(l *link) (*trial, error) {
			client := rpc.NewClient(l)
			newCall := func(i int) func(context.Context) error {
				payload := text(i)
				return func(context.Context) error {
					var reply string
					if err := client.Call("Echo.Text", payload, &reply); err != nil {
						return err
					}
					if reply != payload {
						return errWrongReply
					}
					return nil
				}
			}
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
