package mux

import "context"

// Borrow is TakeIf for somebody who may put the item back: it is lent until it is
// put back or settled. While items are lent nobody is told that no more come: those
// who receive wait for what may come back.
func (st *Stream) Borrow(ctx context.Context, wanted func() bool) (item []byte, owned bool, err error) {
	item, owned, err = st.TakeIf(ctx, wanted)
	if err == nil {
		st.in.mu.Lock()
		st.in.lent++ // before Release, and so before anybody else can see the end
		st.in.mu.Unlock()
	}
	return item, owned, err
}

// Last returns a channel that is closed when nothing more will arrive, though much
// may be there still.
func (st *Stream) Last() <-chan struct{} {
	in := &st.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.last == nil {
		in.last = make(chan struct{})
		if in.err != nil {
			close(in.last)
		}
	}
	return in.last
}

// end takes note of why nothing more will come; in.mu is held.
func (in *incoming) end(err error) {
	if in.err == nil && in.last != nil {
		close(in.last)
	}
	in.err = err
}

// Settle says that n of the lent items will not be put back, and returns how many
// are lent then. Fewer than 0 are not.
func (st *Stream) Settle(n int) (lent int) {
	in := &st.in
	in.mu.Lock()
	defer in.mu.Unlock()
	in.lent = max(0, in.lent-n)
	if in.lent == 0 {
		in.wake()
	}
	return in.lent
}

// PutBack gives an item back that was borrowed and not used; it belongs to the
// stream from then on. Those that were put back are taken before all others, in the
// order in which they were put back. It returns false when that is too late:
// somebody was told already that no more items come, or nobody can take any.
func (st *Stream) PutBack(item []byte) bool {
	in := &st.in
	in.mu.Lock()
	defer in.mu.Unlock()
	in.lent = max(0, in.lent-1)
	if in.ended || in.dropped.Load() {
		return false
	}
	in.again = append(in.again, item)
	in.heldAgain += len(item) + itemCost
	in.taken.Add(^uint64(0))
	in.some.Store(true)
	in.wake()
	return true
}

// second takes an item that was put back, if there is one.
func (in *incoming) second() (item []byte, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.again) == 0 || in.dropped.Load() {
		return nil, false
	}
	item = in.again[0]
	in.again[0] = nil
	in.again = in.again[1:]
	in.heldAgain -= len(item) + itemCost
	in.taken.Add(1)
	in.some.Store(len(in.again) > 0)
	return item, true
}
