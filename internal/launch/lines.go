package launch

import "bytes"

const (
	lineMax    = 64 << 10 // bytes; longer lines are delivered in pieces of this size
	lineFirst  = 4 << 10  // bytes of the first buffer
	lineBufMax = lineMax + 1
)

// lines splits a stream of bytes into lines. The reader of the stream asks for free space, fills it and says how
// much it filled. One goroutine uses it.
type lines struct {
	deliver func(line []byte) // without the newline; valid during the call only

	buf  []byte // its length is what was filled and not yet delivered
	seen int    // bytes of buf that hold no newline
}

// space returns room for at least one byte.
func (l *lines) space() []byte {
	if len(l.buf) == cap(l.buf) {
		// One byte more than a line may have: a line of exactly the maximum and its newline still fit, so the
		// newline never arrives alone as a second, empty line.
		grown := make([]byte, len(l.buf), min(max(2*cap(l.buf), lineFirst), lineBufMax))
		copy(grown, l.buf)
		l.buf = grown
	}
	return l.buf[len(l.buf):cap(l.buf)]
}

// filled delivers the lines that are complete with n bytes more.
func (l *lines) filled(n int) {
	l.buf = l.buf[:len(l.buf)+n]
	start := 0
	for {
		i := bytes.IndexByte(l.buf[start+l.seen:], '\n')
		if i < 0 {
			break
		}
		end := start + l.seen + i
		l.deliver(l.buf[start:end])
		start, l.seen = end+1, 0
	}
	if len(l.buf)-start > lineMax {
		l.deliver(l.buf[start : start+lineMax])
		start += lineMax
	}
	l.buf = l.buf[:copy(l.buf, l.buf[start:])]
	l.seen = len(l.buf)
}

// end delivers a last line that has no newline.
func (l *lines) end() {
	if len(l.buf) > 0 {
		l.deliver(l.buf)
		l.buf = l.buf[:0]
	}
}
