// Package wire holds the bytes that two afar processes exchange: the frame
// header, the messages of the call protocol, and the limits on both. SPEC.md
// beside this file says the same for other implementers, byte by byte.
//
// Encoders append to a slice and cannot fail. Decoders read bytes that a
// hostile peer may have written: they return ErrMalformed, never panic, and
// allocate no more than a small multiple of the bytes they were given.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Version is the protocol's version. Both sides of a link must speak the same
// one, which afar makes easy: both run the same program.
const Version = 1

// Limits of the protocol.
const (
	// MaxFrame is the largest payload of one frame, in bytes. Larger messages
	// travel in several frames, so that a cancel or a ping never waits for more
	// than one of them.
	// It has room for a block of 64 KiB and what stands in front of it.
	MaxFrame = 65 << 10
	// MaxHeader is the most bytes that a frame's header takes.
	MaxHeader = 2 * binary.MaxVarintLen64
)

// ErrMalformed is wrapped by every error about bytes that break the protocol.
var ErrMalformed = errors.New("malformed message")

// Kind says what a frame carries.
type Kind uint8

// Kinds of frames. The first group and Shared travel on stream 0, the second on
// others.
const (
	Message   Kind = iota // one whole message
	BulkFirst             // uvarint total, then the first bytes of a large message
	BulkNext              // the following bytes of the large message
	Ping                  // keepalive; answered by Pong
	Pong
	GoAway // no new streams or calls, please; payload: the reason

	Open      // opens the stream; uvarint: credit of the receiver; then the purpose
	Item      // one whole item
	ItemFirst // uvarint total, then the first bytes of an item of several frames
	ItemNext  // the following bytes of that item
	Credit    // uvarint: so many more bytes may be sent
	End       // the sender sends no more items
	Reset     // the stream is over in both directions; payload: the reason
	Finish    // the same, as it should be; payload: the sender's last word

	Shared // uvarint: so much of the next frame's payload is in shared memory
	kinds
)

var kindNames = [kinds]string{"message", "bulk-first", "bulk-next", "ping", "pong", "go-away",
	"open", "item", "item-first", "item-next", "credit", "end", "reset", "finish", "shared"}

// String returns the name that SPEC.md uses.
func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Header stands in front of every frame.
type Header struct {
	Stream uint64
	Kind   Kind
	Length int // of the payload, in bytes
}

// AppendHeader appends h.
func AppendHeader(dst []byte, h Header) []byte {
	dst = binary.AppendUvarint(dst, h.Stream<<4|uint64(h.Kind))
	return binary.AppendUvarint(dst, uint64(h.Length))
}

// ParseHeader reads the header at the start of data. size is its length in
// bytes, 0 when data ends before the header does.
func ParseHeader(data []byte) (h Header, size int, err error) {
	tag, n := binary.Uvarint(data)
	if n == 0 && len(data) < binary.MaxVarintLen64 {
		return h, 0, nil
	}
	length, m := uint64(0), 0
	if n > 0 {
		length, m = binary.Uvarint(data[n:])
		if m == 0 && len(data)-n < binary.MaxVarintLen64 {
			return h, 0, nil
		}
	}
	h = Header{Stream: tag >> 4, Kind: Kind(tag & 15), Length: int(length)}
	switch {
	case n <= 0 || m <= 0:
		return h, 0, fmt.Errorf("%w: number over 64 bits in a frame header", ErrMalformed)
	case h.Kind >= kinds:
		return h, 0, fmt.Errorf("%w: unknown frame kind %d", ErrMalformed, h.Kind)
	case length > MaxFrame:
		return h, 0, fmt.Errorf("%w: frame of %d bytes, limit %d", ErrMalformed, length, MaxFrame)
	case (h.Kind < Open || h.Kind == Shared) != (h.Stream == 0):
		return h, 0, fmt.Errorf("%w: %v frame on stream %d", ErrMalformed, h.Kind, h.Stream)
	}
	return h, n + m, nil
}
