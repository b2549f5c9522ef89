package main

import (
	"context"
	"errors"

	"github.com/hashicorp/yamux"
)

// yamuxFlowConfig has a window that a flow does not fill at once.
func yamuxFlowConfig() *yamux.Config {
	c := yamuxConfig()
	c.MaxStreamWindowSize = 4 << 20
	return c
}

// serveYamuxFlow has flows on the one stream that is opened.
func serveYamuxFlow(l *link) error {
	session, err := yamux.Server(l, yamuxFlowConfig())
	if err != nil {
		return err
	}
	stream, err := session.AcceptStream()
	if err != nil {
		return err
	}
	return serveFlow(stream)
}

// yamuxFlow writes a flow's payloads as the bytes of one stream.
func yamuxFlow(way direction, f flow) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialWired(ctx, widePipes, "yamux-flow", func(l *link) (*trial, error) {
			client, err := yamux.Client(l, yamuxFlowConfig())
			if err != nil {
				return nil, err
			}
			stream, err := client.OpenStream()
			if err != nil {
				return nil, errors.Join(err, client.Close())
			}
			return &trial{
				measure: func(context.Context) ([]float64, error) { return f.run(stream, way, s.span) },
				close:   client.Close,
			}, nil
		})
	}
}
