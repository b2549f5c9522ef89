package mux

// Shut ends the use of the stream on this side: sending and receiving fail with
// err from now on, also for those who wait, and what was not received is dropped.
// The far side hears nothing of it, and can send for as long as it has credit;
// Finish or Reset must follow. It is idempotent, and does nothing on a stream that
// is over.
func (st *Stream) Shut(err error) {
	o, in := &st.out, &st.in
	o.mu.Lock()
	in.mu.Lock()
	defer in.mu.Unlock()
	if st.over || in.dropped.Load() {
		o.mu.Unlock()
		return
	}
	if o.err == nil {
		o.err = err
	}
	o.queue.callAll()
	o.mu.Unlock()
	in.end(err)
	in.dropped.Store(true)
	in.fresh = batch{}
	if in.parted {
		in.parted = false
		st.session.parcels.Add(-1)
	}
	in.wake()
	st.tell()
}
