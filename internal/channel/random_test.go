package channel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/peer"
)

var (
	errMine  = errors.New("my own Close")
	errWrong = errors.New("the routine's error")
	errMind  = errors.New("another mind")
)

// party is one side of a random conversation: senders and receivers at the same
// end, and what ends it.
type party struct {
	end    *End
	random *rand.Rand
	wg     sync.WaitGroup

	mu   sync.Mutex
	errs []error
	last map[uint64]uint64 // by sender: the number of its last item that came
	came int
}

func (p *party) failed(what string, err error) {
	var closed *peer.Closed
	var fault *peer.Fault
	switch {
	case err == nil, err == io.EOF, errors.Is(err, errMine), errors.Is(err, errMind), errors.Is(err, ErrClosed):
	case errors.As(err, &closed) && (closed.Cause.Message == errMine.Error() || closed.Cause.Message == errMind.Error()):
	case errors.As(err, &fault) && fault.Message == errWrong.Error():
	case errors.Is(err, peer.ErrStreamClosed), errors.Is(err, peer.ErrReturned), errors.Is(err, errWrong): // contexts
	default:
		var lost *peer.Lost
		if errors.As(err, &lost) && lost.Error() == "stream reset by the far side: sender gave up inside an item" {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.errs = append(p.errs, fmt.Errorf("%s: %w (%T)", what, err, err))
	}
}

func (p *party) send(ctx context.Context, sender uint64, items, size int) {
	for n := range items {
		item := make([]byte, 16+size)
		binary.BigEndian.PutUint64(item, sender)
		binary.BigEndian.PutUint64(item[8:], uint64(n+1))
		if err := p.end.Send(ctx, item[:4], item[4:]); err != nil {
			p.failed("Send", err)
			return
		}
	}
}

func (p *party) receive(ctx context.Context, items int) {
	for range items {
		item, _, err := p.end.Take(ctx)
		if err != nil {
			p.failed("Take", err)
			return
		}
		sender, n := binary.BigEndian.Uint64(item), binary.BigEndian.Uint64(item[8:])
		p.mu.Lock()
		if n <= p.last[sender] {
			p.errs = append(p.errs, fmt.Errorf("item %d of %d after %d", n, sender, p.last[sender]))
		}
		p.last[sender] = n
		p.came++
		p.mu.Unlock()
		p.end.Release()
	}
}

// play starts what a party does; it ends when that can do no more, or the party
// ends it.
func (p *party) play(ctx context.Context, base uint64) {
	p.last = map[uint64]uint64{}
	sizes := []int{0, 10, 1000, 40_000, 100_000, 1_500_000}
	for i := range 1 + p.random.IntN(3) {
		items, size := p.random.IntN(40), sizes[p.random.IntN(len(sizes))]
		p.wg.Go(func() { p.send(ctx, base+uint64(i), items, size) })
	}
	for range p.random.IntN(3) {
		items := p.random.IntN(200)
		p.wg.Go(func() { p.receive(ctx, items) })
	}
	if p.random.IntN(2) == 0 {
		p.wg.Go(func() { p.failed("Wait", p.end.Wait(ctx)) })
	}
	if p.random.IntN(3) == 0 {
		p.wg.Go(p.end.CloseSend)
	}
}

// Whatever both sides do with a channel, in whatever order it ends: nobody waits
// for ever, every error says what happened, and the items that come are in order.
func TestRandomEnds(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			here, there := &party{random: random}, &party{random: rand.New(rand.NewPCG(seed, 8))}
			leave, how := make(chan struct{}), random.IntN(6)
			_, e := started(t, func(ctx context.Context, e *End) error {
				there.end = e
				there.play(ctx, 100)
				<-leave
				if how == 0 || how == 1 {
					e.Close(errMine)
				}
				if how%2 == 1 {
					return errWrong
				}
				return nil
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			here.end = e
			here.play(ctx, 200)
			synctest.Wait()
			switch how {
			case 2, 3:
				e.Close(errMine)
			case 4:
				cancel(errMind)
			}
			close(leave)
			if how == 1 { // the routine's error comes after the items
				cancel(errMind)
				here.wg.Wait()
				here.receive(t.Context(), 1<<20)
				if err := e.Wait(t.Context()); !errors.Is(err, ErrClosed) && (err == nil || err.Error() != errWrong.Error()) {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
			synctest.Wait()
			here.wg.Wait() // the routine has returned, so nothing waits
			there.wg.Wait()
			cancel(nil)
			for _, err := range append(here.errs, there.errs...) {
				t.Errorf("seed %d, end %d: %v", seed, how, err)
			}
		})
	}
}
