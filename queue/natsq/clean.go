package natsq

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// spareLog is how much of a log may be of no use, besides as much as twice what is of use.
	spareLog = 32 << 20
	// cleanStep is how much of the log is cleaned at a time, so that nobody waits for long.
	cleanStep = 4 << 20
)

// cut is a deletion of the records up to one, at a time.
type cut struct {
	record uint64
	at     int64
}

// upkeep does what is due and that nobody has asked for.
func (k *keeper) upkeep() error {
	now := k.now()
	k.mark(now)
	if now-k.swept > int64(sweepEvery) {
		k.swept = now
		k.ledger.sweep()
		if err := k.sweepBlobs(); err != nil {
			return err
		}
	}
	waits := len(k.takers) > 0 || len(k.followers) > 0
	if k.doubt.Swap(false) || waits && now-k.looked >= int64(lookAfter) {
		if err := k.look(); errors.Is(err, errDeposed) {
			return err
		} else if err != nil { // there is no connection
			k.doubt.Store(true)
		}
	}
	if len(k.cuts) > 0 && k.cuts[0].at <= now {
		k.delete(k.cuts[0].record)
		k.cuts = k.cuts[1:]
	}
	return k.clean()
}

// look makes sure that nobody else writes the log.
func (k *keeper) look() error {
	ctx, cancel := k.b.limit(k.b.work, answerPatience)
	defer cancel()
	s, err := k.log.js.Stream(ctx, k.log.stream)
	if err != nil {
		return err
	}
	if s.CachedInfo().State.LastSeq != k.log.last {
		return errDeposed
	}
	k.looked = k.now()
	return nil
}

// clean keeps the log from growing for ever. When most of it is of no use, what is of use in its
// oldest part is written again at the end, and the part is deleted, but not before
// what was written is on disk also if the power fails. A keeper that dies in between leaves
// things that are there twice, the later one of which counts.
func (k *keeper) clean() error {
	tune := &k.b.config.tune
	if k.log.size < max(k.cleanAt, tune.spareLog) {
		return nil
	}
	live := k.ledger.live + k.ledger.all.size
	for _, t := range k.ledger.clients {
		live += t.size
	}
	if k.cleanAt = tune.spareLog + 2*live; k.log.size < k.cleanAt {
		return nil
	}
	k.cleanAt = 0
	end := k.log.cut(tune.cleanStep)
	if err := k.rewrite(end); err != nil {
		return err
	}
	k.log.floor = end
	k.confirm = true // a record that says so comes before the deletion
	if err := k.commit(); err != nil {
		return err
	}
	k.log.forget(end)
	k.cuts = append(k.cuts, cut{end, k.now() + int64(k.b.deleteAfter)})
	return nil
}

// rewrite writes again what is of use in the records up to one.
func (k *keeper) rewrite(end uint64) error {
	l := k.ledger
	for e := l.bases.head; e != nil && e.base <= end; e = l.bases.head {
		if err := k.room(int(e.size())); err != nil {
			return err
		}
		if err := k.write(tagEntry, &entryAgain{e}); err != nil {
			return err
		}
		if e.life != nil {
			if err := k.retell(e.num, "", e.life.log); err != nil {
				return err
			}
		}
	}
	if err := k.rewriteTopic("", &l.all, end); err != nil {
		return err
	}
	for client, t := range l.clients {
		if err := k.rewriteTopic(client, t, end); err != nil {
			return err
		}
	}
	for _, b := range l.blobs {
		if err := k.room(256); err != nil {
			return err
		}
		if err := k.write(tagBlobPut, &blobPut{*b}); err != nil {
			return err
		}
	}
	if err := k.room(fullRecord / 2); err != nil {
		return err
	}
	if err := k.write(tagState, newState(l)); err != nil {
		return err
	}
	return k.commit()
}

// rewriteTopic writes a topic again if any of it is in the records up to one.
func (k *keeper) rewriteTopic(client string, t *topic, end uint64) error {
	t.expire(k.ledger.now)
	for i := range t.events {
		if t.events[i].base <= end {
			return k.retell(0, client, t.events)
		}
	}
	return nil
}

// retell writes events again, in several records if they are many.
func (k *keeper) retell(num uint64, client string, events []event) error {
	for len(events) > 0 {
		n, size := 0, int64(0)
		for n < len(events) && (n == 0 || size+events[n].size() < fullRecord/2) {
			size += events[n].size()
			n++
		}
		if err := k.room(int(size)); err != nil {
			return err
		}
		if err := k.write(tagEvents, &eventsAgain{num: num, client: client, events: events[:n]}); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// delete deletes the records up to one. If it fails the next one deletes them too.
func (k *keeper) delete(end uint64) {
	k.bg.Go(func() {
		ctx, cancel := context.WithTimeout(k.ctx, time.Minute)
		defer cancel()
		if s, err := k.log.js.Stream(ctx, k.log.stream); err == nil {
			_ = s.Purge(ctx, jetstream.WithPurgeSequence(end+1))
		}
	})
}
