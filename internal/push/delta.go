package push

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/bits"
)

// Blocks of a file that is there already are described by a weak sum, which can
// be rolled over a file byte by byte, and by the first bytes of their SHA-256. So a
// block is found wherever it has moved to.
const (
	minDelta  = 16 << 10 // bytes of a file for which this is worth a signature
	minBlock  = 4 << 10
	midBlock  = 128 << 10
	maxBlock  = 4 << 20
	maxBlocks = 1 << 20 // of one file; larger ones travel whole
	maxTurn   = 1 << 16 // blocks in a turn, unless one file has more
	strongLen = 16
)

// blockSize is how large the blocks of a file are: small in small files, and so
// large that there are not too many.
func blockSize(size int64) int {
	block := minBlock
	for block < midBlock && size/int64(block) > 16 {
		block *= 2
	}
	for block < maxBlock && size/int64(block) > 1<<14 {
		block *= 2
	}
	return block
}

// blockCount is how many blocks that makes; the last may be shorter.
func blockCount(size int64, block int) int64 { return (size + int64(block) - 1) / int64(block) }

type strong [strongLen]byte

func strongSum(p []byte) (s strong) {
	sum := sha256.Sum256(p)
	copy(s[:], sum[:])
	return s
}

// multiplier is odd and has bits everywhere; the weak sum of bytes is the
// polynomial in it of which they are the coefficients.
const multiplier = 0x9E3779B97F4A7C15

func weakSum(p []byte) (w uint64) {
	for _, b := range p {
		w = w*multiplier + uint64(b)
	}
	return w
}

// power is what the coefficient that leaves a window of n bytes is multiplied by.
func power(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= multiplier
	}
	return p
}

// signature describes the blocks of a file.
type signature struct {
	block int
	tail  int // bytes of the last block, when it is shorter; else 0
	sums  []strong
	weak  []uint64 // of the blocks that have the full size

	// What index makes of weak:
	byWeak map[uint64]int // the first block of each sum
	filter []uint64       // bits that tell quickly that a sum is not in byWeak
	shift  int            // what leaves the bits of a sum that say which bit
}

func newSignature(size int64, block int) *signature {
	return &signature{block: block, tail: int(size % int64(block))}
}

// index prepares a signature for find. Many may wait for their turn; indexes are
// larger.
func (s *signature) index() {
	width := max(10, bits.Len(uint(len(s.weak)))+4)
	s.byWeak, s.filter, s.shift = make(map[uint64]int, len(s.weak)), make([]uint64, 1<<width/64), 64-width
	for i, weak := range s.weak {
		if _, found := s.byWeak[weak]; !found {
			s.byWeak[weak] = i
			bit := weak >> s.shift
			s.filter[bit/64] |= 1 << (bit % 64)
		}
	}
}

func (s *signature) may(weak uint64) bool {
	bit := weak >> s.shift
	return s.filter[bit/64]&(1<<(bit%64)) != 0
}

// find returns the block that p is; next is preferred, of several that are
// alike.
func (s *signature) find(weak uint64, p []byte, next int) (int, bool) {
	i, found := s.byWeak[weak]
	if !found {
		return 0, false
	}
	sum := strongSum(p)
	if next < len(s.weak) && s.sums[next] == sum {
		return next, true
	}
	return i, s.sums[i] == sum
}

// matcher takes a file apart into blocks of a signature and bytes between them.
type matcher struct {
	sig   *signature
	from  io.Reader
	bytes func([]byte) error // which must not keep them
	same  func(block int) error

	buf         []byte
	start       int // of the bytes that nobody was told of
	pos, end    int // of the window; of what was read
	ended       bool
	next        int    // block after the one that matched last
	weak, power uint64 // sum of the window, if rolling
	rolling     bool
}

// run reads the file to its end.
func (m *matcher) run() error {
	n := m.sig.block
	if want := 3*n + chunkSize; cap(m.buf) < want {
		m.buf = make([]byte, want)
	}
	m.buf = m.buf[:cap(m.buf)]
	m.power = power(n)
	m.sig.index()
	for {
		if err := m.fill(); err != nil {
			return err
		}
		if m.end-m.pos < n {
			return m.finish()
		}
		found, err := m.search()
		if err != nil {
			return err
		}
		if found < 0 {
			continue
		}
		if err := m.between(m.pos); err != nil {
			return err
		}
		if err := m.same(found); err != nil {
			return err
		}
		m.next = found + 1
		m.pos += n
		m.start = m.pos
	}
}

// fill reads until there are bytes to roll over, or no more.
func (m *matcher) fill() error {
	if m.end-m.pos > m.sig.block || m.ended {
		return nil
	}
	m.end = copy(m.buf, m.buf[m.start:m.end])
	m.pos -= m.start
	m.start = 0
	n, err := io.ReadFull(m.from, m.buf[m.end:])
	m.end += n
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		m.ended = true
		return nil
	}
	return err
}

// search rolls the window on until it is a block, which it returns, or -1 when
// more must be read, or there is nothing more.
func (m *matcher) search() (int, error) {
	n := m.sig.block
	if !m.rolling {
		m.weak, m.rolling = weakSum(m.buf[m.pos:m.pos+n]), true
	}
	for {
		if m.sig.may(m.weak) {
			if i, found := m.sig.find(m.weak, m.buf[m.pos:m.pos+n], m.next); found {
				m.rolling = false
				return i, nil
			}
		}
		if m.pos+n == m.end {
			if m.ended {
				m.pos++ // there is no such window any more
			}
			return -1, nil
		}
		m.weak = m.weak*multiplier + uint64(m.buf[m.pos+n]) - m.power*uint64(m.buf[m.pos])
		m.pos++
		if m.pos-m.start >= chunkSize {
			if err := m.between(m.pos); err != nil {
				return -1, err
			}
		}
	}
}

// between hands over the bytes up to end.
func (m *matcher) between(end int) error {
	if end == m.start {
		return nil
	}
	err := m.bytes(m.buf[m.start:end])
	m.start = end
	return err
}

// finish hands over what is left, of which the end may be the shorter last block.
func (m *matcher) finish() error {
	tail := m.sig.tail
	if tail == 0 || m.end-m.start < tail || strongSum(m.buf[m.end-tail:m.end]) != m.sig.sums[len(m.sig.sums)-1] {
		return m.between(m.end)
	}
	if err := m.between(m.end - tail); err != nil {
		return err
	}
	return m.same(len(m.sig.sums) - 1)
}

// read takes the next block from its encoding.
func (s *signature) read(b [8 + strongLen]byte, last bool) {
	s.sums = append(s.sums, strong(b[8:]))
	if !last || s.tail == 0 {
		s.weak = append(s.weak, binary.LittleEndian.Uint64(b[:8]))
	}
}
