package mux

// PutBack gives an item back that was taken and not used; it belongs to the
// stream from then on. Those that were put back are taken before all others, in the
// order in which they were put back. It returns false when that is too late:
// somebody was told already that no more items come, or nobody can take any.
func (st *Stream) PutBack(item []byte) bool {
	in := &st.in
	in.mu.Lock()
	defer in.mu.Unlock()
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
