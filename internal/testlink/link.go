// Package testlink makes links misbehave: it delays, throttles, corrupts,
// stalls and cuts what passes a link. It is for tests only.
//
// Everything in it waits on timers, channels and condition variables, so it
// works inside a testing/synctest bubble, where delays take no time.
package testlink

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// ErrCut is what reads and writes give after Cut.
var ErrCut = errors.New("testlink: link cut")

// capacity is how many bytes one direction holds before whoever puts more in
// has to wait.
const capacity = 256 << 10

// Link is a link around another one, whose owner it is. Until it is told
// otherwise it passes everything on as it comes. Its methods may be used
// concurrently.
//
// Bytes wait inside a Link, at most 256 KiB in each direction. What Write has
// taken is on its way and no longer the writer's: later errors of the link
// underneath are those of later writes.
type Link struct {
	link    io.ReadWriteCloser
	out, in *lane // from Write to the link; from the link to Read
	wg      sync.WaitGroup
	once    sync.Once
	err     error // of the link's Close

	bytesIn, bytesOut atomic.Int64
}

// Wrap returns a Link around link, which it owns from then on: Close closes it.
// A Link that is not closed leaks two goroutines.
func Wrap(link io.ReadWriteCloser) *Link {
	l := &Link{link: link, out: newLane(), in: newLane()}
	l.wg.Add(2)
	go l.pumpOut()
	go l.pumpIn()
	return l
}

// Read reads what has come through. When the link underneath has ended, it
// first gives what is still on its way.
func (l *Link) Read(p []byte) (int, error) {
	n, err := l.in.get(p)
	l.bytesIn.Add(int64(n))
	return n, err
}

// Write puts bytes on their way.
func (l *Link) Write(p []byte) (int, error) {
	n, err := l.out.put(p)
	l.bytesOut.Add(int64(n))
	return n, err
}

// Writev puts all buffers on their way, as one Write of their concatenation
// would.
func (l *Link) Writev(bufs ...[]byte) error {
	n, err := l.out.put(bufs...)
	l.bytesOut.Add(int64(n))
	return err
}

// Close closes the link underneath at once, without what is still on its way,
// and returns when the Link's goroutines have ended. It is idempotent. Reads
// and writes give io.ErrClosedPipe afterwards.
func (l *Link) Close() error {
	l.end(io.ErrClosedPipe)
	l.wg.Wait()
	return l.err
}

// Cut ends both directions at once, as a severed cable whose ends are noticed:
// the other side's link is closed, reads and writes of this side give ErrCut.
// What was on its way is lost. Close must still follow.
func (l *Link) Cut() { l.end(ErrCut) }

func (l *Link) end(err error) {
	l.out.end(err)
	l.in.end(err)
	l.once.Do(func() { l.err = l.link.Close() })
}

// Delay makes everything that enters from now on, in either direction, take d.
// Order is kept: nothing overtakes what entered before.
func (l *Link) Delay(d time.Duration) { l.both(func(a *lane) { a.delay = d }) }

// Throttle lets so many bytes pass in a second, in each direction. 0 ends it.
func (l *Link) Throttle(bytesPerSecond int) { l.both(func(a *lane) { a.rate = bytesPerSecond }) }

// Corrupt flips one bit of every n-th byte that enters from now on, in each
// direction. 0 ends it.
func (l *Link) Corrupt(every int) {
	l.both(func(a *lane) { a.corrupt, a.count = every, 0 })
}

// Stall lets nothing pass any more, without an error: a cable that was pulled
// out.
func (l *Link) Stall() { l.both(func(a *lane) { a.stalled = true }) }

// Resume ends a Stall. Nothing was lost.
func (l *Link) Resume() { l.both(func(a *lane) { a.stalled = false }) }

// BytesIn is how many bytes Read has given.
func (l *Link) BytesIn() int64 { return l.bytesIn.Load() }

// BytesOut is how many bytes Write and Writev have taken.
func (l *Link) BytesOut() int64 { return l.bytesOut.Load() }

func (l *Link) both(change func(*lane)) {
	l.out.change(change)
	l.in.change(change)
}

func (l *Link) pumpOut() {
	defer l.wg.Done()
	buf := make([]byte, 32<<10)
	for {
		n, err := l.out.get(buf)
		if err == nil {
			_, err = l.link.Write(buf[:n])
		}
		if err != nil {
			l.out.end(err)
			return
		}
	}
}

func (l *Link) pumpIn() {
	defer l.wg.Done()
	buf := make([]byte, 32<<10)
	for {
		n, err := l.link.Read(buf)
		if n > 0 {
			if _, err := l.in.put(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			l.in.finish(err)
			return
		}
	}
}
