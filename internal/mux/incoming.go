package mux

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/afar-go/afar/internal/wire"
)

// incoming is the direction of a stream from the peer.
type incoming struct {
	turn    turn          // whoever takes items has it, from Take to Release
	batch   batch         // of whoever has the turn
	owed    atomic.Int64  // of held: taken, credit not sent yet
	dropped atomic.Bool   // what has arrived does not count any more
	some    atomic.Bool   // again is not empty
	taken   atomic.Uint64 // items, without those that were put back

	tag    []byte // of the frames of whole items, in space
	space  [10]byte
	parcel parcel // of the reader: an item in several frames, of which some has come
	bulk   int    // bytes of large items that were taken, until there is a wide window

	mu       sync.Mutex
	fresh    batch         // items that nobody has gone through
	arrived  chan struct{} // one token: fresh or err changed, while somebody waits
	waiting  bool          // somebody waits for an item
	due      bool          // and will be woken soon
	err      error         // why nothing more will come
	last     chan struct{} // closed when err is set; nil while nobody asked
	received uint64        // items
	window   int           // what the peer may have sent and nobody taken, as credit counts it
	held     int           // charged for what has come, and not given back as credit
	part     int           // of held: for parcel
	withheld int           // of held: not given before Grant
	parted   bool          // the parcel counts in Session.parcels
	ended    bool          // somebody was told that no more will come

	again     [][]byte // items that were put back
	heldAgain int      // what they would take up of the window
	lent      int      // items that may be put back

	sift func([]byte) bool // see Sift

	// What StreamOptions are, and what becomes of them.
	item     func([]byte, bool)
	over     func(error)
	handling bool // item runs
	told     bool // over was called, or is about to be
}

// Recv returns the next item, which the caller owns. After the far side's End it
// returns io.EOF, and otherwise why the stream or the link ended, which is never
// io.EOF.
func (st *Stream) Recv(ctx context.Context) ([]byte, error) {
	item, owned, err := st.Take(ctx)
	if err != nil {
		return nil, err
	}
	if !owned {
		item = append(make([]byte, 0, len(item)), item...)
	}
	st.Release()
	return item, nil
}

// Take is Recv without a copy: unless owned is true, the item is valid until
// Release only. Release must follow each successful Take; other receivers wait
// meanwhile. An owned item that the caller does not keep may be given to Free.
func (st *Stream) Take(ctx context.Context) (item []byte, owned bool, err error) {
	return st.TakeIf(ctx, nil)
}

// ErrUnwanted is what TakeIf returns for an item that it has left.
var ErrUnwanted = errors.New("item left for others")

// TakeIf is Take by somebody who may not want an item any more when it comes:
// wanted is asked once there is one, and if it says no the item stays there for the
// next who receives. It must not block; nil says yes.
func (st *Stream) TakeIf(ctx context.Context, wanted func() bool) (item []byte, owned bool, err error) {
	in := &st.in
	if err := in.turn.acquire(ctx); err != nil {
		return nil, false, err
	}
	for {
		again := in.some.Load() // before wanted: who puts back may have changed that
		if in.dropped.Load() || in.batch.empty() && !again {
			if err := st.more(ctx); err != nil {
				in.turn.release()
				return nil, false, err
			}
			continue
		}
		if wanted != nil && !wanted() {
			in.turn.release()
			return nil, false, ErrUnwanted
		}
		if !again {
			break
		}
		if item, ok := in.second(); ok {
			return item, true, nil
		}
	}
	in.taken.Add(1)
	item, owned, charge := in.batch.next(len(in.tag))
	if owned {
		in.bulk += len(item)
	}
	if in.owed.Add(int64(charge)) >= int64(in.window/2) || owned && st.narrow() {
		in.mu.Lock()
		st.widen()
		st.giveBack()
		in.mu.Unlock()
		st.session.Kick()
	}
	return item, owned, nil
}

// Release ends the use of what Take gave.
func (st *Stream) Release() { st.in.turn.release() }

// more waits for items and makes them the batch. At the end it waits for those that
// are lent. Its caller has the turn.
func (st *Stream) more(ctx context.Context) error {
	in := &st.in
	in.mu.Lock()
	defer in.mu.Unlock()
	in.batch.reset(!in.fresh.empty())
	for in.fresh.empty() {
		if len(in.again) > 0 && !in.dropped.Load() {
			return nil
		}
		if in.err != nil && (in.lent == 0 || in.dropped.Load()) {
			in.ended = true
			return in.err
		}
		if in.arrived == nil {
			in.arrived = make(chan struct{}, 1)
		}
		// An item larger than the window needs credit before it is whole; only a
		// reader that waits for it may cause that.
		in.waiting = true
		if st.giveBack() {
			st.session.Kick()
		}
		in.mu.Unlock()
		var err error
		select {
		case <-in.arrived:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		in.mu.Lock()
		in.waiting = false
		if err != nil && in.fresh.empty() && len(in.again) == 0 {
			return err
		}
	}
	in.batch, in.fresh = in.fresh, in.batch
	return nil
}

// wake wakes who waits for an item; in.mu is held.
func (in *incoming) wake() {
	if in.waiting {
		in.waiting = false
		select {
		case in.arrived <- struct{}{}:
		default:
		}
	}
}

// Grant lets the peer send a whole window on a stream that was opened with less
// Credit. It is idempotent.
func (st *Stream) Grant() {
	in := &st.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if n := in.withheld; n > 0 {
		in.withheld = 0
		owed := in.owed.Swap(0)
		st.sendCredit(n + int(owed))
		st.giveBack() // for an unfinished item that somebody waits for
		st.session.Kick()
	}
}

// giveBack returns credit for what was taken, and for an unfinished item that
// somebody waits for. Small amounts are saved up; it tells whether there was more,
// which is to be flushed. in.mu is held.
func (st *Stream) giveBack() bool {
	in := &st.in
	owed := in.owed.Load()
	grant := int(owed)
	early := in.fresh.empty() && (in.waiting || in.item != nil)
	if early {
		grant += in.part
	}
	if grant < in.window/2 || in.withheld > 0 {
		return false
	}
	if early {
		in.part = 0
	}
	in.owed.Add(-owed)
	st.sendCredit(grant)
	return true
}

// wide is how many windows a stream of large items gets.
const wide = 4

// narrow tells whether the window should be wider: much has come in large items,
// and was taken. Then so much goes over a fast link while credit is under way. A
// stream that nobody reads stays at one window.
//
// Only who calls this changes the window: whoever has the turn, or the reader if
// there is a handler.
func (st *Stream) narrow() bool {
	window := st.session.config.Window
	return st.in.window == window && st.in.bulk >= 2*window
}

// widen gives the peer a wider window if that is due. in.mu is held.
func (st *Stream) widen() {
	in := &st.in
	if st.narrow() && in.withheld == 0 {
		more := (wide - 1) * in.window
		in.window += more
		in.held += more
		in.owed.Add(int64(more))
	}
}

// sendCredit gives n bytes of held back; in.mu is held.
func (st *Stream) sendCredit(n int) {
	st.in.held -= n
	if st.in.err != nil {
		return // there is nobody who would need it
	}
	var buf [binary.MaxVarintLen64]byte
	payload := binary.AppendUvarint(buf[:0], uint64(n))
	st.session.postFrame(wire.Header{Stream: st.id, Kind: wire.Credit, Length: len(payload)}, payload)
}
