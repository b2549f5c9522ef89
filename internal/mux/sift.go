package mux

import "context"

// Sift has f see each item as it arrives, however late somebody receives it. Where
// f returns true the item is not for receivers, and is gone. The session's reader
// calls f, which must not block, use the stream or keep the item. What has arrived
// before is for f alone. Sift may be called once, before others receive.
func (st *Stream) Sift(f func(item []byte) bool) {
	in := &st.in
	in.mu.Lock()
	in.sift = f
	in.mu.Unlock()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		item, _, err := st.Take(now)
		if err != nil {
			return
		}
		f(item)
		st.Release()
	}
}

// sifted returns the frames of those whole items that are for receivers. in.mu is
// held.
func (st *Stream) sifted(frames []byte) []byte {
	in := &st.in
	b := batch{data: frames}
	var kept []byte // once they are not all of them
	for !b.empty() {
		at := b.at
		item, _, charge := b.next(len(in.tag))
		switch {
		case in.sift(item):
			if kept == nil {
				kept = append(make([]byte, 0, len(frames)), frames[:at]...)
			}
			in.gone(charge)
		case kept != nil:
			kept = append(kept, frames[at:b.at]...)
		}
	}
	if kept == nil {
		return frames
	}
	return kept
}

// gone counts an item that is not for receivers as taken.
func (in *incoming) gone(charge int) {
	in.taken.Add(1)
	in.owed.Add(int64(charge))
}
