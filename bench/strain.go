package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/yamux"

	"github.com/afar-go/afar"
)

// hoard is what never receives, and lavish what sends more than anybody receives.
var (
	hoard  = afar.Routine(hoardRoutine)
	lavish = afar.Routine(lavishRoutine)
)

func hoardRoutine(ctx context.Context, _ *afar.Channel[struct{}, []byte]) error {
	<-ctx.Done()
	return nil
}

func lavishRoutine(ctx context.Context, ch *afar.Channel[[]byte, struct{}]) error {
	if err := offer(afar.NewWriter(ch), func(int) {}); ctx.Err() == nil {
		return err
	}
	return nil
}

// An offering is bytes that are written in a goroutine of their own.
type offering struct {
	wg    sync.WaitGroup
	bytes atomic.Int64
}

// begin starts writing. What fails is not told: the end of the link does so, and is how it ends.
func (o *offering) begin(w io.Writer) {
	o.wg.Go(func() { _ = offer(w, func(n int) { o.bytes.Add(int64(n)) }) })
}

// afarStrain has two channels beside the calls.
func afarStrain(ctx context.Context) (*strain, error) {
	p, err := afar.Open(ctx, "local:1")
	if err != nil {
		return nil, err
	}
	status, err := p.Gateways()[0].Status(ctx)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	var o offering
	return &strain{
		pid:  status.PID,
		call: textEcho(echoText.On(p))(0),
		begin: func(ctx context.Context) (func() int64, error) {
			if _, err := lavish.Start(ctx, p); err != nil {
				return nil, err
			}
			ch, err := hoard.Start(ctx, p)
			if err != nil {
				return nil, err
			}
			o.begin(afar.NewWriter(ch))
			return o.bytes.Load, nil
		},
		close: func() error {
			err := p.Close()
			o.wg.Wait()
			return err
		},
	}, nil
}

// serveUnread offers bytes from the first that comes on, and reads no other.
func serveUnread(l *link) error {
	if _, err := io.ReadFull(l, make([]byte, 1)); err != nil {
		return err
	}
	return offer(l, func(int) {})
}

// rawStrain has a link beside the calls': bare pipes carry one thing.
func rawStrain(ctx context.Context) (*strain, error) {
	calls, err := openLink(ctx, "raw-echo")
	if err != nil {
		return nil, err
	}
	other, err := openWired(ctx, widePipes, "raw-unread")
	if err != nil {
		return nil, errors.Join(err, calls.stop())
	}
	var o offering
	return &strain{
		pid:  other.process.Process.Pid,
		call: echoOver(newMessageLane(calls, calls)),
		begin: func(context.Context) (func() int64, error) {
			o.begin(other)
			return o.bytes.Load, nil
		},
		close: func() error {
			err := stopLinks([]*link{calls, other})
			o.wg.Wait()
			return err
		},
	}, nil
}

// echoOver gives a call that is a message in a lane and back.
func echoOver(l lane) func(context.Context) error {
	i := uint64(0)
	return func(context.Context) error {
		i++
		return errors.Join(l.send(i), l.receive(i))
	}
}

// yamuxStrain has a second stream beside the calls'.
func yamuxStrain(ctx context.Context) (*strain, error) {
	l, err := openWired(ctx, widePipes, "yamux-unread")
	if err != nil {
		return nil, err
	}
	client, stream, err := openYamuxStream(l)
	if err != nil {
		return nil, errors.Join(err, l.stop())
	}
	var o offering
	return &strain{
		pid:  l.process.Process.Pid,
		call: echoOver(newMessageLane(stream, stream)),
		begin: func(context.Context) (func() int64, error) {
			unread, err := client.OpenStream()
			if err != nil {
				return nil, err
			}
			o.begin(unread)
			return o.bytes.Load, nil
		},
		close: func() error {
			err := errors.Join(client.Close(), l.stop())
			o.wg.Wait()
			return err
		},
	}, nil
}

// serveYamuxUnread echoes the bytes of the first stream. On the second it offers bytes, and reads none.
func serveYamuxUnread(l *link) error {
	session, err := yamux.Server(l, yamuxConfig())
	if err != nil {
		return err
	}
	calls, err := session.AcceptStream()
	if err != nil {
		return err
	}
	go io.Copy(struct{ io.Writer }{calls}, struct{ io.Reader }{calls}) // until the link's end, which ends this process
	other, err := session.AcceptStream()
	if err != nil {
		return err
	}
	_ = offer(other, func(int) {}) // It fails when the link has ended.
	return nil
}
