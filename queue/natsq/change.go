package natsq

import (
	"fmt"
	"slices"

	"github.com/afar-go/afar/queue"
)

func (k *keeper) change(r *request) error {
	c := &r.change
	var err error
	count := 0
	switch c.Verb {
	case queue.Cancel:
		count, err = k.cancel(k.find(c.IDs, isOpen), c.Outcome)
	case queue.Purge:
		all := append(k.all(queue.StateWaiting), k.all(queue.StateDelayed)...)
		count, err = k.cancel(all, c.Outcome)
	case queue.Requeue:
		count, err = k.each(k.chosen(c.IDs, isDead), func(some []uint64) error {
			return k.write(tagRequeued, &requeued{some})
		})
	case queue.Drop:
		count, err = k.each(k.chosen(c.IDs, isEnded), func(some []uint64) error {
			return k.write(tagDropped, &dropped{some})
		})
	case queue.Pause, queue.Resume:
		err = k.write(tagPaused, &paused{c.Verb == queue.Pause})
	case queue.Leave:
		delete(k.workers, c.Worker)
	default:
		k.refuse(r, fmt.Sprintf("there is no verb %d", c.Verb))
		return nil
	}
	if err != nil {
		return err
	}
	return k.served(r, result{count: count}, &answer{count: count})
}

func isOpen(e *entry) bool  { return !e.state.Ended() }
func isDead(e *entry) bool  { return e.state == queue.StateDead }
func isEnded(e *entry) bool { return e.state.Ended() }

// chosen returns those of the tasks that may be meant, or of all that are dead.
func (k *keeper) chosen(ids []string, may func(*entry) bool) []uint64 {
	if len(ids) == 0 {
		return k.all(queue.StateDead)
	}
	return k.find(ids, may)
}

// find returns the numbers of those tasks that may be meant, each once.
func (k *keeper) find(ids []string, may func(*entry) bool) (nums []uint64) {
	seen := map[uint64]bool{}
	for _, id := range ids {
		if e := k.ledger.entries[id]; e != nil && may(e) && !seen[e.num] {
			seen[e.num] = true
			nums = append(nums, e.num)
		}
	}
	return nums
}

// all returns the numbers of the tasks in a state.
func (k *keeper) all(s queue.State) (nums []uint64) {
	in := &k.ledger.states[s]
	for e := in.head; e != nil; e = in.after(e) {
		nums = append(nums, e.num)
	}
	return nums
}

// maxNums is how many tasks a fact names. So many fit into a record.
const maxNums = 16 << 10

// each does something to tasks, to so many at a time as fit into a record. Of very many it
// may have been done to some only, when the keeper dies; who asks again, asks for the rest.
func (k *keeper) each(nums []uint64, do func([]uint64) error) (int, error) {
	for some := range slices.Chunk(nums, maxNums) {
		if err := k.room(8 * len(some)); err != nil {
			return 0, err
		}
		if err := do(some); err != nil {
			return 0, err
		}
	}
	return len(nums), nil
}

// cancel says of tasks that they are not wanted.
func (k *keeper) cancel(nums []uint64, outcome []byte) (int, error) {
	return k.each(nums, func(some []uint64) error {
		k.begin()
		f := &canceled{nums: some, mark: k.ledger.marks(len(some)), outcome: data{b: outcome}}
		return k.write(tagCanceled, f)
	})
}
