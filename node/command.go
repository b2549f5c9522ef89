package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/codec"
	"github.com/afar-go/afar/internal/wire"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/trust"
)

// commands runs the commands that somebody has signed, as processes of this caller: in its
// directory, and within its limits.
type commands struct {
	node *Node
	by   trust.PublicKey
}

// Run runs a call of queue.RunCommand.
func (c *commands) Run(ctx context.Context, call *afar.Call) (*afar.Reply, error) {
	var command queue.Command
	if err := codec.Unmarshal(call.Input, &command); err != nil {
		return nil, fmt.Errorf("%w: the command: %w", queue.ErrReject, err)
	}
	if timeout := call.Policy.Timeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, afar.ErrTimeout)
		defer cancel()
	}
	result, err := c.run(ctx, command)
	if err != nil {
		return nil, err
	}
	output, err := codec.Marshal(result)
	return &afar.Reply{Output: output, Attempt: 1}, err
}

// run runs the command in a place of the caller's.
func (c *commands) run(ctx context.Context, command queue.Command) (r queue.CommandResult, err error) {
	n := c.node
	who, err := n.submitter(c.by)
	if err != nil {
		return r, fmt.Errorf("%w: %w", queue.ErrReject, err)
	}
	caller, err := n.enter(who)
	if err != nil {
		return r, errors.Join(queue.ErrBusy, err)
	}
	defer n.leave(caller)
	s := &session{node: n, who: who, caller: caller, log: n.config.Log.With("caller", who.name, "from", who.from)}
	p, err := s.place(&wire.Launch{Dir: command.Dir, Env: command.Env}, who.grant)
	if err != nil {
		return r, errors.Join(queue.ErrBusy, err)
	}
	defer s.release()
	command.Dir = p.dir
	r, err = command.Run(ctx, queue.CommandPlace{Env: p.env, Adjust: p.cell.adjust, Started: func(pid int) {
		p.hold(pid, s.log)
		s.log.Info("command started", "pid", pid, "path", command.Path)
	}})
	p.cell.end(nil)
	return r, err
}
