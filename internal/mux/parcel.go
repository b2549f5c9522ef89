package mux

import (
	"encoding/binary"
)

const (
	// directRead is the smallest part that is read straight to where it belongs.
	directRead = 8 << 10
	// trusted is how much of an announced size is allocated before the bytes
	// have come, and growth how many times as much as has come after that.
	trusted = 2 << 20
	growth  = 8
	// slack is how much is read beyond the end of a frame: so much that the
	// next one's header is likely in it, and so little that moving it is nothing.
	slack = 64
	// probe is how much is read at once behind a frame that was read straight into
	// its destination, because the next one will likely be too.
	probe = 4 << 10
)

// parcel is bytes that arrive in several frames, or in one large one.
type parcel struct {
	buf   []byte
	total int // bytes in all; 0: there is none
	trust int // room is made for so many bytes before they have come
}

// begin expects total bytes, and makes room for them, or for trust if that is less.
func (p *parcel) begin(total, trust int) { *p = parcel{total: total, trust: trust} }

// allocate makes the first room. What comes whole out of shared memory needs no
// buffer that is cleared before it is filled.
func (p *parcel) allocate(shared int) {
	if shared == p.total {
		p.buf = used(shared)
	} else {
		p.buf = Buffer(min(p.total, p.trust) + slack)
	}
}

// fits tells whether a part of length bytes may come next.
func (p *parcel) fits(length int) bool { return length > 0 && length <= p.total-len(p.buf) }

// take reads a part of length bytes, which fits.
func (p *parcel) take(s *Session, rd *reader, length int) error {
	if p.buf == nil {
		p.allocate(rd.shared)
	}
	if room := len(p.buf) + length; room > cap(p.buf) && p.buf != nil {
		grown := Buffer(min(p.total, max(growth*cap(p.buf), room)) + slack)
		grown = append(grown, p.buf...)
		Free(p.buf)
		p.buf = grown
	}
	length -= rd.shared
	for straight := length >= directRead; length > 0; {
		n := 0
		if rd.r < rd.w {
			n = min(length, rd.w-rd.r)
			p.buf = append(p.buf, rd.buf[rd.r:rd.r+n]...)
			rd.r += n
		} else if straight {
			var err error
			if n, err = rd.direct(s, p.buf[len(p.buf):cap(p.buf)], length); n == 0 && err != nil {
				return err
			}
			p.buf = p.buf[:len(p.buf)+n]
		} else if err := rd.fill(s, 1); err != nil {
			return err
		}
		length -= n
	}
	if rd.shared > 0 {
		var err error
		p.buf, err = s.fetch(rd, p.buf)
		return err
	}
	return nil
}

// whole returns the bytes once all of them are there.
func (p *parcel) whole() []byte {
	if p.total == 0 || len(p.buf) < p.total {
		return nil
	}
	buf := p.buf
	*p = parcel{}
	return buf
}

// direct reads at most length bytes of a frame into dst, and some of what is
// behind it into the buffer, which is empty.
func (rd *reader) direct(s *Session, dst []byte, length int) (int, error) {
	if !rd.more {
		rd.wake()
	}
	dst = dst[:min(len(dst), length+slack)]
	n, err := s.link.Read(dst)
	if n > 0 {
		s.beat.heard.Add(1)
	}
	rd.probe, rd.more = true, n == len(dst)
	if n > length {
		rd.r, rd.w = 0, copy(rd.buf, dst[length:n])
		n = length
	}
	return n, err
}

// announced reads the size that stands in front of the first part of a parcel,
// in a frame of length bytes, and returns it and how many bytes it takes up.
func (s *Session) announced(rd *reader, length int) (total, n int, err error) {
	limit := s.limit.Load()
	for {
		size, n := binary.Uvarint(rd.buf[rd.r:min(rd.w, rd.r+length-rd.shared)])
		if n > 0 {
			rd.r += n
			if size < 1 || size > uint64(limit) {
				return 0, 0, s.malformed("message or item of %d bytes, limit %d", size, limit)
			}
			return int(size), n, nil
		}
		if n < 0 || rd.w-rd.r >= min(length-rd.shared, binary.MaxVarintLen64) {
			return 0, 0, s.malformed("bad size of a message or item")
		}
		if err := rd.fill(s, binary.MaxVarintLen64); err != nil {
			return 0, 0, err
		}
	}
}
