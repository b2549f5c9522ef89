package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	nameGRPCUnary  = "gRPC unary"
	nameGRPCStream = "gRPC, one stream"
)

// The full names of the methods.
const (
	grpcUnaryMethod  = "/bench.Echo/Unary"
	grpcStreamMethod = "/bench.Echo/Stream"
)

// grpcBytes is a codec that sends bytes as they are, which is less work than protobuf has with its messages.
type grpcBytes struct{}

func (grpcBytes) Name() string { return "bytes" }

func (grpcBytes) Marshal(v any) ([]byte, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("bytes codec: cannot marshal %T", v)
	}
	return *b, nil
}

func (grpcBytes) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("bytes codec: cannot unmarshal into %T", v)
	}
	*b = data
	return nil
}

// grpcEcho is what protoc would generate for a service with one unary and one streaming method.
var grpcEcho = grpc.ServiceDesc{
	ServiceName: "bench.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Unary",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var b []byte
			if err := decode(&b); err != nil {
				return nil, err
			}
			return &b, nil
		},
	}},
	Streams: []grpc.StreamDesc{{
		StreamName:    "Stream",
		ServerStreams: true,
		ClientStreams: true,
		Handler: func(_ any, stream grpc.ServerStream) error {
			for {
				var b []byte
				if err := stream.RecvMsg(&b); err != nil {
					return err
				}
				if err := stream.SendMsg(&b); err != nil {
					return err
				}
			}
		},
	}},
}

// A soleListener gives its connection once, then nothing until it is closed.
type soleListener struct {
	conn   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newSoleListener(c net.Conn) *soleListener {
	l := &soleListener{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conn <- c
	return l
}

func (l *soleListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *soleListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*soleListener) Addr() net.Addr { return pipeAddr{} }

// A watchedConn tells when the transport has closed it, which is the end of a server with one connection.
type watchedConn struct {
	net.Conn
	done func()
}

func (c watchedConn) Close() error {
	defer c.done()
	return c.Conn.Close()
}

func serveGRPC(l *link) error { return serveGRPCService(l, &grpcEcho) }

func serveGRPCService(l *link, service *grpc.ServiceDesc) error {
	s := grpc.NewServer(grpc.ForceServerCodec(grpcBytes{}))
	s.RegisterService(service, nil)
	var listener *soleListener
	listener = newSoleListener(watchedConn{Conn: l, done: func() { listener.Close() }})
	return s.Serve(listener)
}

// dialGRPC gives a client connection over l.
func dialGRPC(l *link) (*grpc.ClientConn, error) {
	var used sync.Once
	return grpc.NewClient("passthrough:///pipe",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(grpcBytes{})),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			var c net.Conn
			used.Do(func() { c = l })
			if c == nil {
				return nil, errors.New("the pipes serve one connection only")
			}
			return c, nil
		}))
}

// grpcCalls lets n goroutines make unary calls over one connection.
func grpcCalls(n int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialOver(ctx, "grpc", func(l *link) (*trial, error) {
			client, err := dialGRPC(l)
			if err != nil {
				return nil, err
			}
			newCall := func(i int) func(context.Context) error {
				payload := message(i)
				return func(ctx context.Context) error {
					var reply []byte
					if err := client.Invoke(ctx, grpcUnaryMethod, &payload, &reply); err != nil {
						return err
					}
					if !bytes.Equal(reply, payload) {
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

// A grpcLane is one stream that is kept for the whole experiment.
type grpcLane struct {
	stream  grpc.ClientStream
	out, in []byte
}

func (l *grpcLane) send(i uint64) error {
	// gRPC may still hold the bytes of the message before, so each has its own.
	l.out = message(int(i))
	return l.stream.SendMsg(&l.out)
}

func (l *grpcLane) receive(i uint64) error {
	if err := l.stream.RecvMsg(&l.in); err != nil {
		return err
	}
	if len(l.in) != messageSize || binary.LittleEndian.Uint64(l.in) != i {
		return errWrongReply
	}
	return nil
}

// grpcStream keeps n messages in flight on one stream.
func grpcStream(n int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialOver(ctx, "grpc", func(l *link) (*trial, error) {
			client, err := dialGRPC(l)
			if err != nil {
				return nil, err
			}
			stream, err := client.NewStream(ctx, &grpcEcho.Streams[0], grpcStreamMethod)
			if err != nil {
				return nil, errors.Join(err, client.Close())
			}
			lane := &grpcLane{stream: stream}
			return &trial{
				measure: func(ctx context.Context) ([]float64, error) {
					return one(windowRate(ctx, n, s.span, client.Close, lane))
				},
				close: client.Close,
			}, nil
		})
	}
}

// grpcBulk echoes blocks with unary calls.
func grpcBulk(ctx context.Context, s *session) (*trial, error) {
	return trialOver(ctx, "grpc", func(l *link) (*trial, error) {
		client, err := dialGRPC(l)
		if err != nil {
			return nil, err
		}
		return &trial{
			measure: blockRate(s, func(ctx context.Context, block []byte) error {
				var reply []byte
				if err := client.Invoke(ctx, grpcUnaryMethod, &block, &reply); err != nil {
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
