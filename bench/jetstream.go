package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A bareStream is a work queue of JetStream in this process, with the settings of natsq.
type bareStream struct {
	server *natsserver.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	tasks  jetstream.Consumer
}

const (
	bareSubject = "tasks"
	bareBatch   = 256
)

func openBareStream(ctx context.Context, s *session, always bool) (*bareStream, error) {
	dir, err := os.MkdirTemp(s.dir, "jetstream-")
	if err != nil {
		return nil, err
	}
	b := &bareStream{}
	if b.server, err = natsserver.NewServer(&natsserver.Options{
		ServerName: "bench", StoreDir: dir, JetStream: true, DontListen: true, NoSigs: true, NoLog: true,
		SyncInterval: time.Second, SyncAlways: always,
	}); err != nil {
		return nil, err
	}
	b.server.Start()
	if !b.server.ReadyForConnections(patience) {
		return nil, errors.Join(errors.New("the server did not start"), b.close())
	}
	if err := b.prepare(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bareStream) prepare(ctx context.Context) (err error) {
	if b.conn, err = nats.Connect("", nats.InProcessServer(b.server)); err != nil {
		return err
	}
	if b.js, err = jetstream.New(b.conn, jetstream.WithPublishAsyncMaxPending(1024)); err != nil {
		return err
	}
	stream, err := b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "tasks", Subjects: []string{bareSubject}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
	})
	if err != nil {
		return err
	}
	b.tasks, err = stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "w", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000,
	})
	return err
}

func (b *bareStream) close() error {
	if b.conn != nil {
		b.conn.Close()
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
	return nil
}

// jetStreamCrew publishes without waiting, pulls and acknowledges. There are no results.
func jetStreamCrew(always bool) muster {
	return func(ctx context.Context, s *session) (*crew, error) {
		b, err := openBareStream(ctx, s, always)
		if err != nil {
			return nil, err
		}
		return &crew{pass: b.pass, close: b.close}, nil
	}
}

func (b *bareStream) pass(ctx context.Context, n int) error {
	ctx, cancel := within(ctx)
	defer cancel()
	all := texts(n)
	published := make(chan error, 1)
	go func() {
		err := b.publish(ctx, all)
		if err != nil {
			cancel()
		}
		published <- err
	}()
	err := b.take(ctx, all)
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-published)
}

func (b *bareStream) publish(ctx context.Context, all []string) error {
	for _, t := range all {
		if _, err := b.js.PublishAsync(bareSubject, []byte(t), jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
	}
	select {
	case <-b.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *bareStream) take(ctx context.Context, all []string) error {
	for n := 0; n < len(all); {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		batch, err := b.tasks.Fetch(min(bareBatch, len(all)-n), jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			if string(m.Data()) != all[n] {
				return errWrongReply
			}
			if err := m.Ack(); err != nil {
				return err
			}
			n++
		}
	}
	return nil
}

// publishRate is one synchronous publish after the other, to a stream that is synced each time.
func publishRate(ctx context.Context, s *session) (*trial, error) {
	b, err := openBareStream(ctx, s, true)
	if err != nil {
		return nil, err
	}
	return &trial{
		measure: func(ctx context.Context) ([]float64, error) {
			sequence, begin := uint64(0), time.Now()
			n := 0
			for ; n == 0 || time.Since(begin) < s.span; n++ {
				ack, err := b.js.Publish(ctx, bareSubject, []byte(text(n)))
				if err != nil {
					return nil, err
				}
				if ack.Sequence <= sequence {
					return nil, fmt.Errorf("sequence %d after %d", ack.Sequence, sequence)
				}
				sequence = ack.Sequence
			}
			return one(float64(n)/time.Since(begin).Seconds(), nil)
		},
		close: b.close,
	}, nil
}
