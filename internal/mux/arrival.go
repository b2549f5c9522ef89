package mux

import (
	"io"

	"github.com/afar-go/afar/internal/wire"
)

// maxParcels is how many items may have been begun on a session with memory for
// a window each; for more only what has come counts.
const maxParcels = 16

// find returns the stream of a frame, or nil when it is over.
func (s *Session) find(rd *reader, h wire.Header) (*Stream, error) {
	if st := rd.last; st != nil && st.id == h.Stream {
		return st, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[h.Stream]
	if st == nil && !s.used(h.Stream) {
		return nil, s.malformed("%v frame for stream %d, which was never opened", h.Kind, h.Stream)
	}
	rd.last = st
	return st, nil
}

// items takes the small items of one stream that have come, from the first on,
// which h is the header of and which ends at end.
func (s *Session) items(rd *reader, h wire.Header, end int) error {
	st, err := s.find(rd, h)
	if err != nil {
		return err
	}
	if st == nil {
		rd.r = end
		return nil
	}
	limit := int(min(s.limit.Load(), smallItem))
	frames := rd.buf[rd.r:rd.w]
	size, n, charge := measure(frames, st.in.tag, limit)
	if n > 0 {
		rd.r += size
		return st.arrive(rd, frames[:size], n, charge)
	}
	if h.Length > limit {
		return s.malformed("item of %d bytes, limit %d", h.Length, limit)
	}
	// Its header is longer than necessary.
	frame := wire.AppendHeader(nil, h)
	frame = append(frame, rd.buf[end-h.Length:end]...)
	rd.r = end
	return st.arrive(rd, frame, 1, h.Length+itemCost)
}

// admit charges for what has come, or is about to. It returns false when the
// stream is over for this end and its frames are to be ignored. in.mu is held.
func (st *Stream) admit(charge int) (bool, error) {
	in := &st.in
	if in.err == io.EOF {
		return false, st.session.malformed("item after the end")
	}
	if in.err != nil {
		return false, nil
	}
	in.held += charge
	if in.held > in.window {
		return false, st.session.malformed("more than the window of %d bytes", in.window)
	}
	return true, nil
}

// arrive takes n whole items in their frames.
func (st *Stream) arrive(rd *reader, frames []byte, n, charge int) error {
	in := &st.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.parcel.total > 0 && in.err == nil {
		return st.session.malformed("item inside another")
	}
	if ok, err := st.admit(charge); !ok {
		return err
	}
	in.received += uint64(n)
	if in.sift != nil {
		if frames = st.sifted(frames); len(frames) == 0 {
			return nil
		}
	}
	if in.item == nil {
		in.fresh.add(frames)
		st.wakeSoon(rd)
		return nil
	}
	in.taken.Add(uint64(n))
	b := batch{data: frames}
	st.pass(rd, func(handle func([]byte, bool)) {
		for !b.empty() && !in.dropped.Load() {
			item, _, _ := b.next(len(in.tag))
			handle(item, false)
		}
	}, charge)
	return nil
}

// arriveLarge takes an item with memory of its own.
func (st *Stream) arriveLarge(rd *reader, item []byte) {
	in := &st.in
	charge := in.part
	in.part = 0
	in.received++
	if in.item != nil {
		in.bulk += len(item)
	}
	if in.sift != nil && in.sift(item) {
		in.gone(charge)
		return
	}
	if in.item == nil {
		in.fresh.addLarge(largeItem{item, charge})
		st.wakeSoon(rd)
		return
	}
	in.taken.Add(1)
	st.pass(rd, func(handle func([]byte, bool)) { handle(item, true) }, charge)
}

// wakeSoon has who waits for an item woken, at once if there are many. in.mu is
// held.
func (st *Stream) wakeSoon(rd *reader) {
	in := &st.in
	if !in.waiting {
		return
	}
	if in.held-in.withheld-int(in.owed.Load()) > in.window/4 {
		in.wake()
	} else if !in.due {
		in.due = true
		rd.due = append(rd.due, st)
	}
}

// pass has items given to their handler, and gives their credit back. in.mu is
// held before and after.
func (st *Stream) pass(rd *reader, give func(handle func([]byte, bool)), charge int) {
	in := &st.in
	in.owed.Add(int64(charge))
	st.widen()
	st.giveBack()
	rd.fresh = true
	in.handling = true
	in.mu.Unlock()
	rd.wake()
	give(in.item)
	in.mu.Lock()
	in.handling = false
	st.tell()
}

// tell calls over if nothing more will come and it is time. in.mu is held before
// and after.
func (st *Stream) tell() {
	in := &st.in
	if in.err == nil || in.handling || in.told || in.over == nil {
		return
	}
	in.told = true
	err := in.err
	in.mu.Unlock()
	in.over(err)
	in.mu.Lock()
}

// part takes the payload of a frame that is a part of an item, or a large item.
func (s *Session) part(rd *reader, h wire.Header) error {
	st, err := s.find(rd, h)
	if err != nil {
		return err
	}
	ok := false
	if st != nil {
		st.in.mu.Lock()
		if ok, err = st.admit(h.Length + itemCost); !ok {
			st.in.parcel = parcel{}
		}
		st.in.mu.Unlock()
	}
	if !ok {
		if err == nil {
			err = rd.skip(s, h.Length)
		}
		return err
	}
	p := &st.in.parcel
	length, err := st.open(rd, h)
	if err == nil && !p.fits(length) {
		err = s.malformed("part of an item of the wrong size")
	}
	if err == nil {
		err = p.take(s, rd, length)
	}
	if err != nil {
		return err
	}
	st.progress(rd, h.Length+itemCost)
	return nil
}

// open begins the parcel of a frame that is the first of its item. It returns the
// length of what is in the frame beside the item's size.
func (st *Stream) open(rd *reader, h wire.Header) (length int, err error) {
	s, in := st.session, &st.in
	if (h.Kind == wire.ItemNext) != (in.parcel.total > 0) {
		return 0, s.malformed("%v frame out of turn", h.Kind)
	}
	length = h.Length
	total := length
	switch h.Kind {
	case wire.ItemNext:
		return length, nil
	case wire.ItemFirst:
		n := 0
		if total, n, err = s.announced(rd, length); err != nil {
			return 0, err
		}
		length -= n
	default:
		if limit := s.limit.Load(); int64(length) > limit {
			return 0, s.malformed("item of %d bytes, limit %d", length, limit)
		}
	}
	trust := s.config.Window
	if s.parcels.Add(1) > maxParcels {
		trust = length
	}
	in.parcel.begin(total, min(trust, trusted))
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.parted = in.err == nil; !in.parted {
		s.parcels.Add(-1)
	}
	return length, nil
}

// progress takes note of a part of an item that has come.
func (st *Stream) progress(rd *reader, charge int) {
	in := &st.in
	item := in.parcel.whole()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err != nil {
		in.parcel = parcel{}
		return
	}
	in.part += charge
	if item == nil {
		if st.giveBack() { // for receivers that wait: the item may be larger than the window
			rd.fresh = true
		}
		return
	}
	in.parted = false
	st.session.parcels.Add(-1)
	st.arriveLarge(rd, item)
}

// skip leaves out bytes that nobody needs.
func (rd *reader) skip(s *Session, length int) error {
	if n := rd.shared; n > 0 {
		rd.shared = 0
		length -= n
		if err := s.memory.Skip(n); err != nil {
			return s.ofMemory(err)
		}
	}
	for {
		n := min(length, rd.w-rd.r)
		rd.r += n
		if length -= n; length == 0 {
			return nil
		}
		if err := rd.fill(s, 1); err != nil {
			return err
		}
	}
}
