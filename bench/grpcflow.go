package main

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"google.golang.org/grpc"
)

// grpcFlowMethod is the full name of the method.
const grpcFlowMethod = "/bench.Flow/Flow"

// grpcFlowService has one method: a stream of which both sides take and give flows of small payloads, each of which
// is a message.
var grpcFlowService = grpc.ServiceDesc{
	ServiceName: "bench.Flow",
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{
		StreamName:    "Flow",
		ServerStreams: true,
		ClientStreams: true,
		Handler: func(_ any, stream grpc.ServerStream) error {
			for {
				span, err := receiveNumber(stream)
				if err != nil {
					return err
				}
				if span > 0 {
					_, err = grpcPour(stream, time.Duration(span))
				} else {
					var n uint64
					if n, err = grpcDrain(stream); err == nil {
						err = sendNumber(stream, n)
					}
				}
				if err != nil {
					return err
				}
			}
		},
	}},
}

func serveGRPCFlow(l *link) error { return serveGRPCService(l, &grpcFlowService) }

// grpcStreamEnd is either end of a gRPC stream.
type grpcStreamEnd interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

func sendNumber(stream grpcStreamEnd, n uint64) error {
	b := binary.LittleEndian.AppendUint64(nil, n)
	return stream.SendMsg(&b)
}

func receiveNumber(stream grpcStreamEnd) (uint64, error) {
	var b []byte
	if err := stream.RecvMsg(&b); err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, errWrongReply
	}
	return binary.LittleEndian.Uint64(b), nil
}

// grpcPour sends a flow as messages.
func grpcPour(stream grpcStreamEnd, span time.Duration) (uint64, error) {
	n := uint64(0)
	send := func(number uint64) error {
		// gRPC may still hold the bytes of the message before, so each has its own.
		b := smallFlow.payload()
		setNumber(b, number)
		return stream.SendMsg(&b)
	}
	for begin := time.Now(); n == 0 || time.Since(begin) < span; n++ {
		if err := send(n); err != nil {
			return n, err
		}
	}
	return n, send(endNumber)
}

// grpcDrain receives a flow and gives the number of its payloads.
func grpcDrain(stream grpcStreamEnd) (uint64, error) {
	d := drain{flow: smallFlow}
	for !d.ended {
		var b []byte
		if err := stream.RecvMsg(&b); err != nil {
			return 0, err
		}
		if _, err := d.Write(b); err != nil {
			return 0, err
		}
	}
	return d.next, nil
}

// grpcFlow has flows of messages on one stream.
func grpcFlow(way direction) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialWired(ctx, widePipes, "grpc-flow", func(l *link) (*trial, error) {
			client, err := dialGRPC(l)
			if err != nil {
				return nil, err
			}
			stream, err := client.NewStream(ctx, &grpcFlowService.Streams[0], grpcFlowMethod)
			if err != nil {
				return nil, errors.Join(err, client.Close())
			}
			return &trial{
				measure: func(context.Context) ([]float64, error) { return grpcFlowRate(stream, way, s.span) },
				close:   client.Close,
			}, nil
		})
	}
}

func grpcFlowRate(stream grpcStreamEnd, way direction, span time.Duration) ([]float64, error) {
	begin := time.Now()
	if way == inward {
		if err := sendNumber(stream, uint64(span)); err != nil {
			return nil, err
		}
		n, err := grpcDrain(stream)
		return one(smallFlow.rate(n, begin), err)
	}
	if err := sendNumber(stream, 0); err != nil {
		return nil, err
	}
	sent, err := grpcPour(stream, span)
	if err != nil {
		return nil, err
	}
	received, err := receiveNumber(stream)
	if err == nil {
		err = checkCount(received, sent)
	}
	return one(smallFlow.rate(received, begin), err)
}
