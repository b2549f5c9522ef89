package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// A flow is payloads in one direction, as fast as they go. The first eight bytes of each hold its number, the others
// are the same in all.
type flow struct {
	size  int     // bytes of a payload
	batch int     // payloads in one write, for those who write bytes and not items
	worth float64 // what one payload counts in the row's unit
	keep  bool    // the receiver of bytes gives each payload memory of its own
	reuse bool    // the receiver of items gives their memory back
}

// The flows of the rows. Large payloads count as megabytes.
var (
	smallFlow  = flow{size: messageSize, batch: 1024, worth: 1}
	smallItems = flow{size: messageSize, batch: 1, worth: 1}
	largeFlow  = flow{size: 64 << 10, batch: 1, worth: (64 << 10) / 1e6}
	keptFlow   = flow{size: 64 << 10, batch: 1, worth: (64 << 10) / 1e6, keep: true}
	reusedFlow = flow{size: 64 << 10, batch: 1, worth: (64 << 10) / 1e6, reuse: true}
)

// Contenders of the flows.
const (
	nameRawSocket   = "raw, unix socket"
	nameRawKept     = "raw, unix socket, every block in new memory"
	nameReused      = "afar, Recv and Recycle"
	nameBytes       = "afar, Writer and Reader.WriteTo"
	nameYamuxItems  = "yamux, one long stream, a write per item"
	nameYamuxWrites = "yamux, one long stream, 64 KiB writes"
)

// endNumber is the number of the payload that ends a flow.
const endNumber = ^uint64(0)

// A direction is the way that a flow takes.
type direction bool

const (
	outward direction = false // from the caller
	inward  direction = true  // to the caller
)

// itemFlows is small items in one direction.
func itemFlows(way direction) experiment {
	name, title := "items-out", "strings of 64 B one way, caller to routine, local:1"
	if way == inward {
		name, title = "items-in", "strings of 64 B one way, routine to caller, local:1"
	}
	e := experiment{
		figures: []figure{{name: name, title: title, unit: "items/s", targets: []target{{bound: 5e6}}}},
		contenders: []contender{
			{nameAfar, afarTexts(way)},
			{"afar, []byte", afarBytes(way, smallFlow)},
			{"afar, int", afarInts(way)},
			{nameRaw, rawFlow(widePipes, way, smallFlow)},
			{nameYamuxItems, yamuxFlow(way, smallItems)},
			{nameYamuxWrites, yamuxFlow(way, smallFlow)},
			{nameGRPCStream, grpcFlow(way)},
		},
	}
	if way == outward {
		e.contenders = append(e.contenders, contender{"net/rpc, 1,024 calls without a result in flight", netRPCFlow})
	}
	return e
}

// blockFlows is large items in one direction.
func blockFlows(way direction) experiment {
	name, title := "blocks-out", "[]byte of 64 KiB one way, caller to routine, local:1"
	if way == inward {
		name, title = "blocks-in", "[]byte of 64 KiB one way, routine to caller, local:1"
	}
	return experiment{
		figures: []figure{{
			name: name, title: title, unit: "MB/s",
			targets: []target{{of: nameReused, over: nameRawSocket, bound: 0.8}, {of: nameBytes, over: nameRawSocket, bound: 0.8}, {over: nameRawKept, bound: 0.8}, {over: nameRawSocket, bound: 0.8, stretch: true}},
		}},
		contenders: []contender{
			{nameAfar, afarBytes(way, largeFlow)},
			{nameReused, afarBytes(way, reusedFlow)},
			{nameBytes, afarReaderWriter(way)},
			{nameRaw, rawFlow(widePipes, way, largeFlow)},
			{nameRawSocket, rawFlow(socket, way, largeFlow)},
			{nameRawKept, rawFlow(socket, way, keptFlow)},
			{nameYamuxLong, yamuxFlow(way, largeFlow)},
		},
	}
}

// payload gives a payload without a number.
func (f flow) payload() []byte { return bytes.Repeat([]byte{'.'}, f.size) }

func setNumber(payload []byte, n uint64) { binary.LittleEndian.PutUint64(payload, n) }

// pour writes payloads for span, and then the one that ends the flow. It gives the number of those before.
func (f flow) pour(w io.Writer, span time.Duration) (uint64, error) {
	buf := bytes.Repeat(f.payload(), f.batch)
	sent := uint64(0)
	for begin := time.Now(); sent == 0 || time.Since(begin) < span; {
		for i := range f.batch {
			setNumber(buf[i*f.size:], sent)
			sent++
		}
		if _, err := w.Write(buf); err != nil {
			return sent, err
		}
	}
	setNumber(buf, endNumber)
	_, err := w.Write(buf[:f.size])
	return sent, err
}

// A drain checks what it is written: a flow's payloads, in whatever pieces. It is an io.Writer.
type drain struct {
	flow
	next  uint64  // the number of the payload that is being written
	have  int     // its bytes that were
	head  [8]byte // the first of them
	ended bool    // the flow's end has come
}

// errAfterEnd is returned for bytes after the end of a flow.
var errAfterEnd = errors.New("something came after the end")

func (d *drain) Write(b []byte) (int, error) {
	for i := 0; i < len(b); {
		if d.ended {
			return i, errAfterEnd
		}
		if d.have < len(d.head) {
			n := copy(d.head[d.have:], b[i:])
			i += n
			if d.have += n; d.have < len(d.head) {
				continue
			}
		}
		n := min(d.size-d.have, len(b)-i)
		i += n
		if d.have += n; d.have == d.size {
			if err := d.whole(b[i-1]); err != nil {
				return i, err
			}
		}
	}
	return len(b), nil
}

// whole checks a payload of which the last byte is given.
func (d *drain) whole(last byte) error {
	d.have = 0
	switch n := binary.LittleEndian.Uint64(d.head[:]); {
	case last != '.':
		return errWrongReply
	case n == endNumber:
		d.ended = true
	case n != d.next:
		return fmt.Errorf("payload %d came as %d", d.next, n)
	default:
		d.next++
	}
	return nil
}

// readFrom reads until the flow's end.
func (d *drain) readFrom(r io.Reader) error {
	buf := make([]byte, 256<<10)
	for !d.ended {
		var n int
		var err error
		if d.keep {
			buf = make([]byte, d.size)
			n, err = io.ReadFull(r, buf)
		} else {
			n, err = r.Read(buf)
		}
		if n > 0 {
			if _, err := d.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A flowOrder asks a server for one flow.
type flowOrder struct {
	Way         direction
	Keep        bool
	Size, Batch int64
	Span        time.Duration // of a flow to the caller
}

// serveFlow takes and gives flows over bytes. A flow that was taken is answered with the number of its payloads.
func serveFlow(far io.ReadWriter) error {
	for {
		var o flowOrder
		if err := binary.Read(far, binary.LittleEndian, &o); err != nil {
			return err
		}
		f := flow{size: int(o.Size), batch: int(o.Batch), keep: o.Keep}
		if o.Way == inward {
			if _, err := f.pour(far, o.Span); err != nil {
				return err
			}
			continue
		}
		d := drain{flow: f}
		if err := d.readFrom(far); err != nil {
			return err
		}
		if err := binary.Write(far, binary.LittleEndian, d.next); err != nil {
			return err
		}
	}
}

// run has one flow over bytes to a serveFlow, or from it.
func (f flow) run(far io.ReadWriter, way direction, span time.Duration) ([]float64, error) {
	begin := time.Now()
	o := flowOrder{Way: way, Keep: f.keep, Size: int64(f.size), Batch: int64(f.batch), Span: span}
	if err := binary.Write(far, binary.LittleEndian, o); err != nil {
		return nil, err
	}
	if way == inward {
		d := drain{flow: f}
		err := d.readFrom(far)
		return one(f.rate(d.next, begin), err)
	}
	sent, err := f.pour(far, span)
	if err != nil {
		return nil, err
	}
	var received uint64
	if err := binary.Read(far, binary.LittleEndian, &received); err != nil {
		return nil, err
	}
	return one(f.rate(received, begin), checkCount(received, sent))
}

// rate is what count payloads since begin are worth a second.
func (f flow) rate(count uint64, begin time.Time) float64 {
	return float64(count) * f.worth / time.Since(begin).Seconds()
}

// checkCount compares what a flow's receiver has counted with what was sent.
func checkCount(received, sent uint64) error {
	if received != sent {
		return fmt.Errorf("%d of %d payloads came", received, sent)
	}
	return nil
}

// rawFlow writes bare bytes.
func rawFlow(wire wiring, way direction, f flow) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialWired(ctx, wire, "raw-flow", func(l *link) (*trial, error) {
			return &trial{measure: func(context.Context) ([]float64, error) { return f.run(l, way, s.span) }}, nil
		})
	}
}
