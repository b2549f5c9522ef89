package mux

import (
	"encoding/binary"

	"github.com/afar-go/afar/internal/ring"
	"github.com/afar-go/afar/internal/wire"
)

// leastShared is the size of the smallest payload for which the shared memory of a
// link is used. Below it the frame that says so costs as much as it saves.
const leastShared = 4 << 10

// share puts the bytes of a frame into the memory beside the link, if there is
// room, and returns how many that were: all or none. The frame has to be the next
// that is written, so its caller has the turn to write.
func (s *Session) share(first, second []byte) int {
	n := len(first) + len(second)
	if s.memory == nil || n < leastShared || !s.memory.Put(first, second) {
		return 0
	}
	return n
}

// appendHeader appends a frame's header, and in front of it the frame that says how
// much of its payload is in the shared memory.
func appendHeader(out []byte, h wire.Header, shared int) []byte {
	if shared > 0 {
		n := binary.AppendUvarint(nil, uint64(shared))
		out = append(wire.AppendHeader(out, wire.Header{Kind: wire.Shared, Length: len(n)}), n...)
	}
	return wire.AppendHeader(out, h)
}

// elsewhere takes note that so much of the next frame's payload is in the shared
// memory.
func (s *Session) elsewhere(rd *reader, payload []byte) error {
	n, size := binary.Uvarint(payload)
	if size <= 0 || size != len(payload) || n == 0 || n > wire.MaxFrame || s.memory == nil || rd.shared > 0 {
		return s.malformed("announcement of shared memory")
	}
	rd.shared = int(n)
	return nil
}

// fetch appends what is in the shared memory of the frame that is read.
func (s *Session) fetch(rd *reader, dst []byte) ([]byte, error) {
	n := rd.shared
	rd.shared = 0
	dst, err := s.memory.Take(dst, n)
	return dst, s.ofMemory(err)
}

// ofMemory gives an error of the memory its cause: it was closed with the link, or
// the peer has announced what is not there.
func (s *Session) ofMemory(err error) error {
	if err == nil || err == ring.ErrClosed {
		return err
	}
	return s.malformed("%v", err)
}
