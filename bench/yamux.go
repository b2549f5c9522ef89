package main

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/hashicorp/yamux"
)

const (
	nameYamuxPerCall = "yamux, a stream per call"
	nameYamuxLong    = "yamux, one long stream"
)

// yamuxConfig lets 1,024 streams be opened at a time; the default of 256 would be what that row measures.
func yamuxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.AcceptBacklog = 1024
	c.LogOutput = io.Discard
	return c
}

// serveYamuxPerCall answers one message on every stream that is opened.
func serveYamuxPerCall(l *link) error {
	session, err := yamux.Server(l, yamuxConfig())
	if err != nil {
		return err
	}
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return err
		}
		go func() {
			defer stream.Close()
			buf := make([]byte, messageSize)
			if _, err := io.ReadFull(stream, buf); err == nil {
				stream.Write(buf)
			}
		}()
	}
}

// serveYamuxLong echoes all bytes of every stream.
func serveYamuxLong(l *link) error {
	session, err := yamux.Server(l, yamuxConfig())
	if err != nil {
		return err
	}
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return err
		}
		go func() {
			defer stream.Close()
			buf := make([]byte, 64<<10)
			io.CopyBuffer(struct{ io.Writer }{stream}, struct{ io.Reader }{stream}, buf)
		}()
	}
}

// yamuxCalls lets n goroutines open a stream for each call.
func yamuxCalls(n int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialOver(ctx, "yamux-per-call", func(l *link) (*trial, error) {
			client, err := yamux.Client(l, yamuxConfig())
			if err != nil {
				return nil, err
			}
			newCall := func(i int) func(context.Context) error {
				payload, reply := message(i), make([]byte, messageSize)
				return func(context.Context) error { return yamuxCall(client, payload, reply) }
			}
			return &trial{
				measure: func(ctx context.Context) ([]float64, error) { return one(callRate(ctx, n, s.span, newCall)) },
				close:   client.Close,
			}, nil
		})
	}
}

// yamuxCall sends payload on a new stream and reads as many bytes back.
func yamuxCall(client *yamux.Session, payload, reply []byte) error {
	stream, err := client.OpenStream()
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err := stream.Write(payload); err != nil {
		return err
	}
	if _, err := io.ReadFull(stream, reply); err != nil {
		return err
	}
	if !bytes.Equal(reply, payload) {
		return errWrongReply
	}
	return nil
}

// yamuxLong keeps n messages in flight on one stream.
func yamuxLong(n int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialOver(ctx, "yamux-long-lane", func(l *link) (*trial, error) {
			client, stream, err := openYamuxStream(l)
			if err != nil {
				return nil, err
			}
			lane := newMessageLane(stream, stream)
			return &trial{
				measure: func(ctx context.Context) ([]float64, error) {
					return one(windowRate(ctx, n, s.span, client.Close, lane))
				},
				close: client.Close,
			}, nil
		})
	}
}

// yamuxBulk echoes blocks on one stream, written and read at the same time, because a block exceeds its window.
func yamuxBulk(ctx context.Context, s *session) (*trial, error) {
	return trialOver(ctx, "yamux-long-lane", func(l *link) (*trial, error) {
		client, stream, err := openYamuxStream(l)
		if err != nil {
			return nil, err
		}
		reply := make([]byte, blockSize)
		return &trial{
			measure: blockRate(s, func(_ context.Context, block []byte) error {
				written := make(chan error, 1)
				go func() {
					_, err := stream.Write(block)
					written <- err
				}()
				_, err := io.ReadFull(stream, reply)
				if err := errors.Join(err, <-written); err != nil {
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

func openYamuxStream(l *link) (*yamux.Session, *yamux.Stream, error) {
	client, err := yamux.Client(l, yamuxConfig())
	if err != nil {
		return nil, nil, err
	}
	stream, err := client.OpenStream()
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, stream, nil
}
