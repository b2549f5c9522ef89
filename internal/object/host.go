// Package object is objects that live in a worker: the host, which makes them,
// runs their methods and frees them, and the handle by which they are used.
//
// Each handle has a stream of its own. Requests go one way, replies the other;
// the link's readers take both at once, so that a cancel never waits behind
// requests, and a window bounds what a handle has open: the handle keeps to it,
// and the host ends the handle of one that does not.
package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/member"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// Class is what a registry.Function of kind Class has as its Body.
type Class struct {
	Construct  func(ctx context.Context, argument []byte) (any, error)
	Concurrent bool // methods of one object may run at a time
	Members    Members
}

// Members is what can be used by name: a member.Type. It is an interface so that
// programs without classes do not link one.
type Members interface {
	Invoke(ctx context.Context, obj any, method string, args [][]byte) (member.Result, error)
	Get(ctx context.Context, obj any, name string) (member.Result, error)
	Set(ctx context.Context, obj any, name string, value []byte) error
}

// Method is what a registry.Function of kind Method has as its Body.
type Method func(ctx context.Context, obj any, input, dst []byte) ([]byte, error)

// Host makes objects in a worker and runs their methods.
type Host struct {
	Base      context.Context // of all methods; ends with the link
	Conn      *peer.Conn
	Home      *handle.Home
	Functions []*registry.Function
	Limit     func() int64 // bytes of an output
}

// Create takes a stream that was opened for a new object, of which info is what
// the purpose says; the link's reader calls it.
func (h *Host) Create(s *mux.Stream, rest *wire.Reader) error {
	info, err := wire.ParseInfo(rest)
	if err != nil {
		return err
	}
	if info.Function >= len(h.Functions) || h.Functions[info.Function].Kind != registry.Class {
		return fmt.Errorf("%w: function %d of %d is not a class", wire.ErrMalformed, info.Function, len(h.Functions))
	}
	f := h.Functions[info.Function]
	o := newInstance(h, f.Body.(*Class), f.Name, s)
	begun := false
	s.Handle(func(item []byte, owned bool) {
		if !begun {
			begun = true
			go o.construct(info, copied(item, owned))
			return
		}
		o.take(o.maker, item, owned)
	}, func(err error) { o.free(peer.CauseOf(err)) })
	return nil
}

func copied(item []byte, owned bool) []byte {
	if owned {
		return item
	}
	return append([]byte(nil), item...)
}

// construct makes the object and tells its maker the token.
func (o *instance) construct(info *wire.Info, argument []byte) {
	s := o.maker.stream
	ctx, cancel := peer.StreamContext(o.Base, s, info.Remaining)
	r := peer.NewRunning(ctx, o.Conn, o.name, info, s.ID(), 0)
	var value any
	peer.Guard(func() (err error) {
		value, err = o.class.Construct(r, argument)
		if err == nil && value == nil {
			err = errors.New("the constructor returned neither an object nor an error")
		}
		return err
	}, func(err error) {
		reply := wire.Reply{}
		reply.SetLogged(r.Logged())
		cancel(ended(err))
		r.Ended(err)
		if err != nil {
			peer.Finish(s, wire.Ending{Code: wire.EndFailed, Logged: reply.Logged}, err)
			return
		}
		token, ok := o.born(value)
		if !ok { // its maker went meanwhile
			o.close()
			return
		}
		_ = s.SendNow(o.Base, reply.AppendHead(nil), []byte(token)) // it fails with the stream, which frees
	})
}

// ended is the cause with which the context ends of what has run: handles that
// were bound in it are given back, or cut off if it failed.
func ended(err error) error {
	if err == nil {
		return peer.ErrReturned
	}
	return err
}

// serve runs the method that a job is for, and sends the reply.
func (o *instance) serve(j *job) {
	ctx, end := context.WithCancelCause(o.Base)
	if given := j.Info.Remaining; given > 0 {
		limited, stop := context.WithTimeoutCause(ctx, max(1, given-time.Since(j.came)), nil)
		defer stop()
		ctx = limited
	}
	if cause := o.begin(j, end); cause != nil {
		end(cause)
		o.answer(j, wire.Reply{}, cause)
		return
	}
	r := peer.NewRunning(ctx, o.Conn, o.name, j.Info, j.from.stream.ID(), j.ID)
	var reply wire.Reply
	peer.Guard(func() (err error) {
		reply, err = o.perform(r, j)
		return err
	}, func(err error) {
		reply.SetLogged(r.Logged())
		end(ended(err))
		r.Ended(err)
		o.answer(j, reply, err)
	})
}

// perform does what a request asks for.
func (o *instance) perform(ctx context.Context, j *job) (reply wire.Reply, err error) {
	var result member.Result
	switch j.Op {
	case wire.OpCall:
		if j.Info.Function >= len(o.Functions) || o.Functions[j.Info.Function].Kind != registry.Method {
			return reply, fmt.Errorf("%w: function %d of %d is not a method", wire.ErrMalformed, j.Info.Function, len(o.Functions))
		}
		reply.Payload, err = o.Functions[j.Info.Function].Body.(Method)(ctx, o.value, j.Input, nil)
		return reply, err
	case wire.OpInvoke:
		var args [][]byte
		if args, err = wire.ParseArguments(j.Input); err == nil {
			result, err = o.class.Members.Invoke(ctx, o.value, j.Member, args)
		}
	case wire.OpGet:
		result, err = o.class.Members.Get(ctx, o.value, j.Member)
	case wire.OpSet:
		result.None = true
		err = o.class.Members.Set(ctx, o.value, j.Member, j.Input)
	}
	if m, ok := err.(*member.Error); ok && m.Signature == "" {
		err = fmt.Errorf("%w: %w", registry.ErrUnknown, err)
	}
	reply.Payload, reply.Type, reply.Status = result.Output, result.Type, wire.StatusTyped
	if result.None {
		reply.Status |= wire.StatusNone
	}
	return reply, err
}

// answer sends the reply to a job.
func (o *instance) answer(j *job, reply wire.Reply, err error) {
	if limit := o.Limit(); err == nil && limit > 0 && int64(len(reply.Payload)) > limit {
		err = &peer.TooLargeError{What: "output of " + o.method(j), Size: int64(len(reply.Payload)), Limit: limit}
	}
	if err != nil {
		reply.Status = reply.Status&wire.StatusLogged | wire.StatusFailed
		reply.Payload = peer.FaultOf(err).Append(nil)
	}
	reply.ID = j.ID
	o.settle(j) // the handle may send another request once it has the reply
	var head [64]byte
	_ = j.from.stream.SendNow(o.Base, reply.AppendHead(head[:0]), reply.Payload) // it fails with the stream: nobody waits
}

// method is the name of what a job runs.
func (o *instance) method(j *job) string {
	if j.Op == wire.OpCall {
		return o.Functions[j.Info.Function].Name
	}
	return j.Member + " of an object of " + o.name
}

// close calls the object's Close, if it has one, once nothing of it runs.
func (o *instance) close() {
	closer, ok := o.value.(io.Closer)
	if !ok {
		return
	}
	r := peer.NewRunning(o.Base, o.Conn, o.name, &wire.Info{}, o.maker.stream.ID(), 0)
	peer.Guard(closer.Close, func(err error) {
		if err != nil {
			_ = r.Log(&peer.Record{Time: time.Now(), Level: slog.LevelWarn, // without a link there is nobody to tell
				Message: "afar: Close of an object failed", Attrs: []slog.Attr{slog.String("class", o.name), slog.String("error", peer.FaultOf(err).Message)}})
		}
	})
}
