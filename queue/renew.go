package queue

import (
	"errors"
	"slices"
	"time"
)

// renew renews the leases of what is held, and tells at once what functions say.
func (w *work) renew() {
	tick := time.NewTicker(w.config.Lease / 3)
	defer tick.Stop()
	for {
		everything := false
		select {
		case <-w.life.Done():
			return
		case <-tick.C:
			everything = true
		case <-w.said:
		}
		w.tell(everything)
	}
}

// tell gives signs of life, of all deliveries or of those that have something to say.
func (w *work) tell(everything bool) {
	w.telling.Lock()
	defer w.telling.Unlock()
	for beats := range slices.Chunk(w.beats(everything), maxBatch) {
		holds, err := w.queue.broker.Renew(w.life, w.queue.name, w.config.Name, beats)
		if err == nil {
			w.heed(beats, holds)
		} else if w.life.Err() == nil && !errors.Is(err, ErrClosed) {
			w.config.Log.Warn("queue: leases were not renewed", "queue", w.queue.name, "leases", len(beats), "error", err)
		}
	}
}

func (w *work) beats(everything bool) (beats []Beat) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.held {
		if b, news := d.beat(); everything || news {
			beats = append(beats, b)
		}
	}
	return beats
}

// heed does what the broker says of leases.
func (w *work) heed(beats []Beat, holds []Hold) {
	for i := range min(len(beats), len(holds)) {
		switch holds[i] {
		case Lost:
			w.interrupt(beats[i].Lease, ErrLeaseLost)
		case Unwanted:
			w.interrupt(beats[i].Lease, errUnwanted)
		}
	}
}

// interrupt ends the context of a delivery's function.
func (w *work) interrupt(l Lease, cause error) {
	w.mu.Lock()
	d := w.held[l.ID]
	w.mu.Unlock()
	if d != nil && (d.Token == l.Token || l.Token == 0) {
		d.cancel(cause)
	}
}

// listen hears which tasks are to be canceled.
func (w *work) listen() {
	cursor := Newest
	for w.life.Err() == nil {
		events, next, err := w.queue.broker.Follow(w.life, w.queue.name, Topic{}, cursor, followPatience)
		if err != nil {
			return // the broker is closed, or about to say so to others; renewing tells of it too
		}
		for _, e := range events {
			if e.Kind == EventCancel {
				w.interrupt(Lease{ID: e.ID}, errUnwanted)
			}
		}
		cursor = next
	}
}

// settle settles what has ended, as much at a time as there is.
func (w *work) settle() {
	for first := range w.settles {
		batch := []*ended{first}
	more:
		for len(batch) < maxBatch {
			select {
			case e, ok := <-w.settles:
				if !ok {
					break more
				}
				batch = append(batch, e)
			default:
				break more
			}
		}
		w.settleBatch(batch)
	}
}

func (w *work) settleBatch(batch []*ended) {
	settlements := make([]Settlement, len(batch))
	for i, e := range batch {
		settlements[i] = e.Settlement
	}
	w.telling.Lock()
	w.lastProgress(batch)
	_, err := w.queue.broker.Settle(w.life, w.queue.name, settlements)
	w.telling.Unlock()
	if err != nil && w.life.Err() == nil && !errors.Is(err, ErrClosed) {
		w.config.Log.Error("queue: outcomes were not settled, so their tasks will be tried again when their leases end",
			"queue", w.queue.name, "tasks", len(batch), "error", err)
	}
	for _, e := range batch {
		w.forget(e.delivery)
	}
}

// lastProgress tells how far deliveries have come that are about to be settled.
func (w *work) lastProgress(batch []*ended) {
	var beats []Beat
	for _, e := range batch {
		if b, news := e.delivery.beat(); news {
			beats = append(beats, b)
		}
	}
	if len(beats) > 0 {
		_, _ = w.queue.broker.Renew(w.life, w.queue.name, w.config.Name, beats) // it is only for those who look
	}
}
