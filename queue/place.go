package queue

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/afar-go/afar"
)

// places are where functions run: a pool that was given, or pools that are opened when the
// first task needs them.
type places struct {
	config WorkConfig

	mu     sync.Mutex
	here   *afar.Pool // in this process
	beside *afar.Pool // in processes that can be killed
}

// of returns where a task is to run.
func (p *places) of(ctx context.Context, o *order) (*afar.Pool, error) {
	if o.Function == commandName && !p.config.Commands {
		return nil, fmt.Errorf("%w: commands are not allowed here (WorkConfig.Commands)", ErrReject)
	}
	if p.config.Pool != nil {
		return p.config.Pool, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx = context.WithoutCancel(ctx) // the pool outlives the task
	if o.Timeout > 0 {
		return open(ctx, &p.beside, afar.Config{}, "local:"+strconv.Itoa(p.config.Concurrency))
	}
	return open(ctx, &p.here, afar.Config{Concurrency: p.config.Concurrency}, "inproc:1")
}

// open opens a pool unless it is open.
func open(ctx context.Context, pool **afar.Pool, c afar.Config, target string) (*afar.Pool, error) {
	if *pool == nil {
		opened, err := c.Open(ctx, target)
		if err != nil {
			return nil, fmt.Errorf("queue: a place for tasks: %w", err)
		}
		*pool = opened
	}
	return *pool, nil
}

// close closes the pools that were opened here.
func (p *places) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pool := range []*afar.Pool{p.here, p.beside} {
		if pool != nil {
			_ = pool.Close()
		}
	}
}
