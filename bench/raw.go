package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// messageSize is the payload of a call, in bytes. The first eight hold the message's number.
const messageSize = 64

// spinLimit is how long the spinning variant reads in vain before it parks.
const spinLimit = 200 * time.Microsecond

// serveEcho sends back whatever arrives, as it arrives.
func serveEcho(l *link) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := l.Read(buf)
		if err != nil {
			return err
		}
		if _, err := l.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// serveSpin is serveEcho with reads that spin.
func serveSpin(l *link) error {
	r, err := newSpinReader(l)
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return err
		}
		if _, err := l.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// serveBlocks echoes blocks of blockSize, each read whole before it is sent back, as a call's argument must be.
func serveBlocks(l *link) error {
	buf := make([]byte, blockSize)
	for {
		if _, err := io.ReadFull(l, buf); err != nil {
			return err
		}
		if _, err := l.Write(buf); err != nil {
			return err
		}
	}
}

// A spinReader reads a non-blocking descriptor again and again before it parks the goroutine. Not for concurrent
// use.
type spinReader struct {
	conn syscall.RawConn
	try  func(fd uintptr) bool
	buf  []byte
	n    int
	err  error
}

func newSpinReader(l *link) (*spinReader, error) {
	conn, err := l.in.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &spinReader{conn: conn}
	r.try = r.spin
	return r, nil
}

// Read implements io.Reader. b must not be empty.
func (r *spinReader) Read(b []byte) (int, error) {
	r.buf = b
	if err := r.conn.Read(r.try); err != nil {
		return 0, err
	}
	return r.n, r.err
}

// spin reads until there is something, or for spinLimit; false makes the runtime wait for the descriptor.
func (r *spinReader) spin(fd uintptr) bool {
	begin := time.Now()
	for i := 1; ; i++ {
		// A raw system call does not tell the scheduler, which is right for one that never blocks.
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&r.buf[0])), uintptr(len(r.buf)))
		switch {
		case errno == 0 && n == 0:
			r.n, r.err = 0, io.EOF
			return true
		case errno == 0:
			r.n, r.err = int(n), nil
			return true
		case errno != syscall.EAGAIN && errno != syscall.EINTR:
			r.n, r.err = 0, errno
			return true
		}
		if i%16 == 0 && time.Since(begin) > spinLimit {
			return false
		}
	}
}

// rawSerial is a ping-pong of single messages.
func rawSerial(wire wiring, server string, spin bool) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialWired(ctx, wire, server, func(l *link) (*trial, error) {
			var r io.Reader = l
			if spin {
				var err error
				if r, err = newSpinReader(l); err != nil {
					return nil, err
				}
			}
			return &trial{measure: func(ctx context.Context) ([]float64, error) {
				return one(windowRate(ctx, 1, s.span, l.Close, newMessageLane(r, l)))
			}}, nil
		})
	}
}

// rawConcurrent keeps n messages in flight; whatever has come back is sent again in one write.
func rawConcurrent(n int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialOver(ctx, "raw-echo", func(l *link) (*trial, error) {
			return &trial{measure: func(ctx context.Context) ([]float64, error) { return one(batchRate(l, n, s.span)) }}, nil
		})
	}
}

// batchRate gives messages per second. Every message must come back once and in order.
func batchRate(l *link, n int, span time.Duration) (float64, error) {
	out := make([]byte, n*messageSize)
	in := make([]byte, n*messageSize)
	var sent, received uint64
	send := func(count int) error {
		for i := range count {
			binary.LittleEndian.PutUint64(out[i*messageSize:], sent)
			sent++
		}
		_, err := l.Write(out[:count*messageSize])
		return err
	}
	begin := time.Now()
	if err := send(n); err != nil {
		return 0, err
	}
	have := 0
	for received < sent {
		k, err := l.Read(in[have:])
		if err != nil {
			return 0, err
		}
		have += k
		whole := have / messageSize
		for i := range whole {
			if got := binary.LittleEndian.Uint64(in[i*messageSize:]); got != received {
				return 0, fmt.Errorf("message %d came back as %d", received, got)
			}
			received++
		}
		copy(in, in[whole*messageSize:have])
		have -= whole * messageSize
		if whole > 0 && time.Since(begin) < span {
			if err := send(whole); err != nil {
				return 0, err
			}
		}
	}
	return float64(received) / time.Since(begin).Seconds(), nil
}

// itemSize is what an int takes on the raw pipe.
const itemSize = 8

// pump sends the integers from first to last-1 through l in batches, and calls each with every one that comes
// back, in order.
func pump(l *link, first, last int, each func(v int)) error {
	var sending sync.WaitGroup
	var sendErr error
	var stopped atomic.Bool
	sending.Go(func() { sendErr = sendItems(l, first, last, &stopped) })
	err := receiveItems(l, first, last, each)
	if err != nil {
		stopped.Store(true)
		l.Close()
	}
	sending.Wait()
	if err == nil {
		err = sendErr
	}
	return err
}

func sendItems(l *link, first, last int, stopped *atomic.Bool) error {
	batch := make([]byte, 0, 32<<10)
	for v := first; v < last; v++ {
		batch = binary.LittleEndian.AppendUint64(batch, uint64(v))
		if len(batch) == cap(batch) || v == last-1 {
			if stopped.Load() {
				return nil
			}
			if _, err := l.Write(batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return nil
}

func receiveItems(l *link, first, last int, each func(v int)) error {
	buf := make([]byte, 64<<10)
	have := 0
	for next := first; next < last; {
		k, err := l.Read(buf[have:])
		if err != nil {
			return err
		}
		have += k
		whole := have / itemSize
		for i := range whole {
			v := int(binary.LittleEndian.Uint64(buf[i*itemSize:]))
			if v != next {
				return fmt.Errorf("item %d came back as %d", next, v)
			}
			each(v)
			next++
		}
		copy(buf, buf[whole*itemSize:have])
		have -= whole * itemSize
	}
	return nil
}
