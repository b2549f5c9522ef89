package push

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"time"
)

// errProtocol means that the other side says what it must not.
var errProtocol = errors.New("push: the other side does not keep to the protocol")

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errProtocol, fmt.Sprintf(format, args...))
}

// pieceSize is how much is written at a time, unless a link wants less.
const pieceSize = 64 << 10

// readSize is how much is read at a time of what is small.
const readSize = 16 << 10

// stream reads and writes the parts of messages. After an error everything reads
// as zero; err says which it was. It may be used by one goroutine at a time.
type stream struct {
	in   *bufio.Reader
	out  []byte // not written yet
	to   io.Writer
	size int // of a piece

	sent, received int64 // bytes; what was received counts as it is used
	err            error
}

func newStream(c io.ReadWriter) *stream {
	return &stream{in: bufio.NewReaderSize(c, readSize), to: c, size: pieceSize}
}

// fail keeps the first error.
func (s *stream) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *stream) put(b ...byte) {
	s.out = append(s.out, b...)
	s.spill()
}

func (s *stream) putUint(u uint64) {
	s.out = binary.AppendUvarint(s.out, u)
	s.spill()
}

func (s *stream) putString(text string) {
	s.putUint(uint64(len(text)))
	s.out = append(s.out, text...)
	s.spill()
}

func (s *stream) putBool(b bool) {
	if b {
		s.put(1)
	} else {
		s.put(0)
	}
}

func (s *stream) putTime(t time.Time) {
	s.out = binary.AppendVarint(s.out, t.Unix())
	s.putUint(uint64(t.Nanosecond()))
}

// spill writes whole pieces.
func (s *stream) spill() {
	n := 0
	for len(s.out)-n >= s.size {
		s.write(s.out[n : n+s.size])
		n += s.size
	}
	if n > 0 {
		s.out = s.out[:copy(s.out, s.out[n:])]
	}
}

func (s *stream) write(p []byte) {
	if s.err != nil {
		return
	}
	n, err := s.to.Write(p)
	s.sent += int64(n)
	if err != nil {
		s.fail(err)
	}
}

// flush writes what is left; the other side's turn begins.
func (s *stream) flush() error {
	if len(s.out) > 0 {
		s.write(s.out)
		s.out = s.out[:0]
	}
	return s.err
}

// torn turns the end of the bytes, in the middle of the conversation, into an
// error.
func torn(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (s *stream) kind() byte {
	if s.err != nil {
		return 0
	}
	b, err := s.in.ReadByte()
	if err != nil {
		s.fail(torn(err))
		return 0
	}
	s.received++
	return b
}

// ReadByte is for the reading of integers.
func (s *stream) ReadByte() (byte, error) {
	b := s.kind()
	return b, s.err
}

// uint reads a number of at most limit.
func (s *stream) uint(limit uint64) uint64 {
	if s.err != nil {
		return 0
	}
	u, err := binary.ReadUvarint(s)
	if err == nil && u > limit {
		err = violation("%d where at most %d may be", u, limit)
	}
	if err != nil {
		s.fail(err)
		return 0
	}
	return u
}

func (s *stream) bool() bool { return s.uint(1) == 1 }

func (s *stream) length() int64 { return int64(s.uint(math.MaxInt64)) }

// full reads as many bytes as p has.
func (s *stream) full(p []byte) {
	if s.err != nil {
		clear(p)
		return
	}
	n, err := io.ReadFull(s.in, p)
	s.received += int64(n)
	if err != nil {
		s.fail(torn(err))
		clear(p)
	}
}

// string reads a text of at most limit bytes.
func (s *stream) string(limit int) string {
	p := make([]byte, s.uint(uint64(limit)))
	s.full(p)
	return string(p)
}

func (s *stream) time() time.Time {
	if s.err != nil {
		return time.Time{}
	}
	sec, err := binary.ReadVarint(s)
	if err != nil {
		s.fail(err)
	}
	return time.Unix(sec, int64(s.uint(999_999_999)))
}

func (s *stream) perm() fs.FileMode { return fs.FileMode(s.uint(uint64(fs.ModePerm))) }
