package agent

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// Program is a program that was started with standard streams of its own.
type Program struct {
	Stdin          io.WriteCloser
	Stdout, Stderr io.Reader
	PID            int
	Signal         func(name string) error // "interrupt", "terminated", "killed" and the like
	Wait           func() wire.Exit        // called once, when both outputs have ended
}

// Streams are the standard streams of a program that is run at a place.
type Streams struct {
	Stdin          io.Reader // nil: it has none
	Stdout, Stderr io.Writer
	Signals        <-chan string // names of signals for it
}

// Run runs a program at the place, of an image that is kept there, until it has
// ended. When ctx ends it is killed.
func (p *Place) Run(ctx context.Context, l *wire.Launch, streams Streams) (*wire.Exit, error) {
	s, err := p.session.Open(l.Append([]byte{wire.PurposeRun}), mux.StreamOptions{})
	if err != nil {
		return nil, err
	}
	over, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.Reset("no longer wanted")
	go func() {
		for {
			select {
			case name := <-streams.Signals:
				_ = s.SendNow(over, []byte{wire.LaunchSignal}, []byte(name))
			case <-over.Done():
				return
			}
		}
	}()
	input, err := p.session.Open(idOf(s), mux.StreamOptions{})
	if err != nil {
		return nil, err
	}
	defer input.Reset("no longer wanted")
	go feed(over, input, streams.Stdin)
	for {
		item, err := s.Recv(ctx)
		var finished *mux.Finished
		if errors.As(err, &finished) {
			exit, err := wire.ParseExit(finished.Payload)
			if err == nil && exit.Failed != "" {
				err = errors.New(exit.Failed)
			}
			return exit, err
		}
		if err != nil {
			return nil, plain(err)
		}
		if len(item) == 0 {
			continue
		}
		var to io.Writer
		switch item[0] {
		case wire.LaunchOutput:
			to = streams.Stdout
		case wire.LaunchErrors:
			to = streams.Stderr
		}
		if to != nil {
			if _, err := to.Write(item[1:]); err != nil {
				return nil, err
			}
		}
	}
}

// feed sends what a program is to read.
func feed(ctx context.Context, s *mux.Stream, from io.Reader) {
	buf := make([]byte, chunk)
	for from != nil {
		n, err := from.Read(buf)
		if n > 0 && s.SendNow(ctx, buf[:n], nil) != nil {
			return
		}
		if err != nil {
			break
		}
	}
	s.End()
}

// run has a program run.
func (v *Server) run(s *mux.Stream, rest *wire.Reader) error {
	l, err := wire.ParseLaunch(rest)
	if err != nil {
		return err
	}
	return v.begin(s, func(st *started) {
		p, err := v.Run(l)
		if err != nil {
			st.finish(&wire.Exit{Failed: err.Error()})
			return
		}
		st.host(p)
	})
}

// host connects a program with its streams until it has ended.
func (st *started) host(p *Program) {
	_ = st.control.SendNow(st.over, wire.AppendInt([]byte{wire.LaunchStarted}, p.PID), nil)
	var outputs, inputs sync.WaitGroup
	for word, from := range map[byte]io.Reader{wire.LaunchOutput: p.Stdout, wire.LaunchErrors: p.Stderr} {
		outputs.Go(func() { st.send(word, from) })
	}
	inputs.Go(func() {
		select {
		case bytes := <-st.bytes:
			_, _ = io.Copy(p.Stdin, &streamLink{s: bytes}) // It fails when the program reads no more.
			bytes.Reset("nobody reads any more")
		case <-st.over.Done():
		}
		_ = p.Stdin.Close()
	})
	inputs.Go(func() {
		st.signal(p)
		st.cancel()
		_ = p.Signal("killed")
		_ = p.Stdin.Close()
	})
	outputs.Wait()
	exit := p.Wait()
	_ = p.Stdin.Close()
	st.finish(&exit)
	inputs.Wait()
}

// send sends what a program writes.
func (st *started) send(word byte, from io.Reader) {
	buf := make([]byte, chunk)
	for {
		n, err := from.Read(buf)
		if n > 0 && st.control.SendNow(st.over, []byte{word}, buf[:n]) != nil || err != nil {
			return
		}
	}
}

// signal passes signals on until no more come.
func (st *started) signal(p *Program) {
	for {
		item, err := st.control.Recv(context.Background())
		if err != nil {
			return
		}
		switch {
		case len(item) > 1 && item[0] == wire.LaunchSignal:
			_ = p.Signal(string(item[1:]))
		case len(item) == 1 && item[0] == wire.LaunchKill:
			_ = p.Signal("killed")
		}
	}
}
