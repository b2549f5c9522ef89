package natsq

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/afar-go/afar/queue"
)

// load reads the log into a new ledger.
func (k *keeper) load(ctx context.Context) error {
	k.ledger = newLedger()
	k.ledger.replay = true
	first := uint64(0)
	floor := uint64(0)
	err := k.log.readAll(ctx, func(record uint64, body []byte) error {
		if first == 0 {
			first = record
		}
		var err error
		if floor, err = k.ledger.read(record, body[:len(body)-4]); err != nil {
			return fmt.Errorf("%w: record %d: %w", errDamaged, record, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if first > floor+1 {
		return k.log.missing(ctx, floor+1, first-1)
	}
	if err := k.b.marks.check(k.token, k.log.last); err != nil {
		return err
	}
	k.log.floor = floor
	k.ledger.settle()
	return nil
}

// read reads a record, and returns up to which one others may be missing.
func (l *ledger) read(record uint64, body []byte) (floor uint64, err error) {
	c := codec{bytes: body, reading: true, record: record}
	var h header
	if h.code(&c); c.err != nil {
		return 0, c.err
	}
	c.first = h.mark
	l.begin(record, h.now)
	l.mark, l.lastStamp = max(l.mark, h.mark), max(l.lastStamp, h.stamp)
	for c.err == nil && c.at < len(c.bytes) {
		var tag uint8
		integer(&c, &tag)
		f := newFact(tag)
		if f == nil {
			return 0, errVersion
		}
		if f.code(&c); c.err == nil {
			f.apply(l)
		}
	}
	return h.floor, c.end()
}

// settle puts in order what the log does not have in order.
func (l *ledger) settle() {
	for s := range l.states {
		l.states[s].sort()
	}
	for i := range l.lanes {
		l.lanes[i] = newLane()
	}
	in := &l.states[queue.StateWaiting]
	for e := in.head; e != nil; e = in.after(e) {
		e.links[byLine] = link{}
		l.lane(e).add(e)
	}
	l.replay = false
}

// sort puts the entries in the order of their stamps.
func (l *chain) sort() {
	all := make([]*entry, 0, l.n)
	for e := l.head; e != nil; e = l.after(e) {
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b *entry) int { return cmp.Compare(a.stamp, b.stamp) })
	for _, e := range all {
		l.push(e)
	}
}

// claim makes the loaded keeper the one that writes the log: if nobody else has written to it
// since it was read, and nobody who has read less can write any more.
func (k *keeper) claim(ctx context.Context) error {
	k.started, k.clock0 = time.Now(), k.ledger.now
	if err := k.write(tagClaimed, &claimed{k.id}); err != nil {
		return err
	}
	if err := k.log.append(ctx, seal(k.rec.bytes)); err != nil {
		return err
	}
	k.rec, k.facts = codec{}, 0
	began := time.Now()
	ctx, cancel := k.b.limit(ctx, answerPatience)
	defer cancel()
	s, err := k.log.js.Stream(ctx, k.log.stream)
	if err != nil {
		return err
	}
	msg, err := s.GetMsg(ctx, k.log.last)
	if err != nil {
		return err
	}
	// The server's time says how long nobody was there. That it never goes back is
	// seen to, and that it may jump concerns delays and retentions, but no lease.
	k.started, k.clock0 = began, max(k.ledger.now, msg.Time.UnixNano())
	k.ledger.pass(k.now())
	clear(k.ledger.gone)
	clear(k.ledger.touched)
	k.looked = k.now()
	return nil
}
