package queue

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// First bytes of bodies and outcomes.
const (
	bodyVersion   = 1 // an order, or an answer
	signedVersion = 2 // an order, and a signature
)

// order is what a task asks for: the Body of a Task.
type order struct {
	Function string            // its name
	Key      string            // its name and types
	Programs map[string]string // hashes of the program that submitted it, by system, if they are among the blobs
	Header   map[string]string
	Timeout  time.Duration
	Attempts int             // at most; 0: DefaultMaxAttempts
	Insist   bool            // errors and timeouts cost attempts too: without it they are answers
	Pauses   []time.Duration // after each attempt; the last one goes on
	Blob     string          // hash of the input, when it is among the blobs
	Input    []byte
}

func (o *order) append(dst []byte) []byte {
	dst = wire.AppendText(append(dst, bodyVersion), o.Function)
	dst = wire.AppendText(dst, o.Key)
	dst = appendMap(dst, o.Programs)
	dst = appendMap(dst, o.Header)
	dst = wire.AppendLong(dst, int64(o.Timeout))
	insist := byte(0)
	if o.Insist {
		insist = 1
	}
	dst = append(wire.AppendInt(dst, o.Attempts), insist)
	dst = binary.AppendUvarint(dst, uint64(len(o.Pauses)))
	for _, p := range o.Pauses {
		dst = wire.AppendLong(dst, int64(p))
	}
	dst = wire.AppendText(dst, o.Blob)
	return wire.AppendBytes(dst, o.Input)
}

// parseOrder reads a task's body. The input is a part of it.
func parseOrder(body []byte) (*order, error) {
	r := wire.NewReader(body)
	if v := r.Byte(); r.Err() == nil && v != bodyVersion {
		return nil, fmt.Errorf("queue: a task of version %d; this program knows version %d", v, bodyVersion)
	}
	o := &order{Function: r.Text(), Key: r.Text(), Programs: parseMap(r), Header: parseMap(r)}
	o.Timeout, o.Attempts, o.Insist = time.Duration(r.Long()), r.Int(), r.Flags(1) != 0
	for n := r.Count(); n > 0 && r.Err() == nil; n-- {
		o.Pauses = append(o.Pauses, time.Duration(r.Long()))
	}
	o.Blob, o.Input = r.Text(), r.Bytes()
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("queue: not a task of afar: %w", err)
	}
	return o, nil
}

func appendMap(dst []byte, m map[string]string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(m)))
	if len(m) == 0 {
		return dst // most tasks have none: there is nothing to sort
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		dst = wire.AppendText(wire.AppendText(dst, k), m[k])
	}
	return dst
}

func parseMap(r *wire.Reader) map[string]string {
	n := r.Count()
	if n == 0 {
		return nil
	}
	m := make(map[string]string, min(n, 64))
	for ; n > 0 && r.Err() == nil; n-- {
		k := r.Text()
		m[k] = r.Text()
	}
	return m
}

// most is how often the task may be attempted when its workers are lost.
func (o *order) most() int {
	if o.Attempts > 0 {
		return o.Attempts
	}
	return DefaultMaxAttempts
}

// pause is how long to wait after an attempt, which counts from 1.
func (o *order) pause(attempt int) time.Duration {
	if len(o.Pauses) == 0 {
		return 0
	}
	return o.Pauses[min(attempt, len(o.Pauses))-1]
}

// answer is how a task ended: its outcome.
type answer struct {
	Worker  string
	Attempt int
	Fault   []byte // the error, encoded; nil if there is none
	Blob    string // hash of the output, when it is among the blobs
	Output  []byte
}

func (a *answer) append(dst []byte) []byte {
	dst = wire.AppendText(append(dst, bodyVersion), a.Worker)
	dst = wire.AppendInt(dst, a.Attempt)
	dst = wire.AppendBytes(dst, a.Fault)
	dst = wire.AppendText(dst, a.Blob)
	return wire.AppendBytes(dst, a.Output)
}

func parseAnswer(outcome []byte) (*answer, error) {
	r := wire.NewReader(outcome)
	if v := r.Byte(); r.Err() == nil && v != bodyVersion {
		return nil, fmt.Errorf("queue: an outcome of version %d; this program knows version %d", v, bodyVersion)
	}
	a := &answer{Worker: r.Text(), Attempt: r.Int(), Fault: r.Bytes(), Blob: r.Text(), Output: r.Bytes()}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("queue: not an outcome of afar: %w", err)
	}
	return a, nil
}
