package mux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/wire"
)

// mixed is sizes of items with and without memory of their own, in one frame and
// in several.
var mixed = []int{0, 1, 100, 127, 128, smallItem, smallItem + 1, directWrite - 1, directWrite, wire.MaxFrame, wire.MaxFrame + 1, 200_000}

// sendMixed sends n items of sizes that go round, and ends.
func sendMixed(t *testing.T, st *Stream, n int) {
	for i := range n {
		item := content(fmt.Sprintf("%d:", i), mixed[i%len(mixed)]+8)
		head := i % len(item)
		if i%4 == 0 {
			head = 0
		}
		if err := st.Send(t.Context(), item[:head], item[head:]); err != nil {
			t.Errorf("item %d: %v", i, err)
		}
	}
	st.End()
}

// numbered returns the number of one of these items, and whether it is intact.
func numbered(item []byte) (i int, intact bool) {
	if _, err := fmt.Sscanf(string(item[:min(len(item), 8)]), "%d:", &i); err != nil {
		return 0, false
	}
	return i, bytes.Equal(item, content(fmt.Sprintf("%d:", i), mixed[i%len(mixed)]+8))
}

// What Take gives stays as it is until Release, whatever comes meanwhile, and
// other receivers wait.
func TestTakenItemIsValidUntilRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		if err := near.Send(t.Context(), []byte("fir"), []byte("st")); err != nil {
			t.Fatal(err)
		}
		item, owned, err := far.Take(t.Context())
		if err != nil || owned {
			t.Fatal(owned, err)
		}
		others := make(chan int, 1)
		go func() {
			n := 0
			for {
				if _, err := far.Recv(context.Background()); err != nil {
					others <- n
					return
				}
				n++
			}
		}()
		go sendMixed(t, near, 36)
		synctest.Wait()
		if string(item) != "first" || len(others) > 0 {
			t.Errorf("%q, %d others", item, len(others))
		}
		far.Release()
		if n := <-others; n != 36 {
			t.Errorf("the others received %d items", n)
		}
	})
}

func TestReceiversShareTakenItems(t *testing.T) {
	a, b := pair(t, quiet())
	st, err := a.Open([]byte("test"), StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	far := b.streams.take()
	const n = 240
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[int]int{}
	for range 5 {
		wg.Go(func() {
			last := -1
			for {
				item, owned, err := far.Take(context.Background())
				if err != nil {
					if err != io.EOF {
						t.Error(err)
					}
					return
				}
				i, intact := numbered(item)
				if !intact || i <= last {
					t.Errorf("item %d after %d: intact %v", i, last, intact)
				}
				if last = i; owned {
					Free(item)
				}
				mu.Lock()
				seen[i]++
				mu.Unlock()
				far.Release()
			}
		})
	}
	sendMixed(t, st, n)
	wg.Wait()
	for i := range n {
		if seen[i] != 1 {
			t.Errorf("item %d was taken %d times", i, seen[i])
		}
	}
}

// Those whose contexts end go, one by one or all at once, and lose nothing.
func TestCanceledTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		cause := errors.New("changed my mind")
		take := func() (chan error, context.CancelCauseFunc) {
			ctx, cancel := context.WithCancelCause(t.Context())
			failed := make(chan error, 1)
			go func() {
				_, _, err := far.Take(ctx)
				failed <- err
			}()
			synctest.Wait()
			return failed, cancel
		}
		first, cancelFirst := take() // waits for an item
		second, cancelSecond := take()
		third, cancelThird := take() // wait for the first
		cancelSecond(cause)
		if err := <-second; err != cause {
			t.Errorf("while it waited for its turn: %v", err)
		}
		cancelFirst(cause)
		if err := <-first; err != cause {
			t.Errorf("while it waited for an item: %v", err)
		}
		if err := near.Send(t.Context(), nil, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := <-third; err != nil {
			t.Errorf("the one that was left: %v", err)
		}
		cancelThird(nil)
		far.Release()
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := near.Send(t.Context(), nil, []byte("y")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if item, err := far.Recv(canceled); err != nil || string(item) != "y" {
			t.Errorf("an item that is there: %q, %v", item, err)
		}
		if _, err := far.Recv(canceled); !errors.Is(err, context.Canceled) {
			t.Errorf("no item: %v", err)
		}
		books(t, near, far)
	})
}

// An item with memory of its own belongs to who took it.
func TestOwnedItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		go sendMixed(t, near, 3*len(mixed))
		var kept [][]byte
		for {
			item, owned, err := far.Take(t.Context())
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if owned {
				kept = append(kept, item)
			} else if len(item) > smallItem {
				t.Errorf("an item of %d bytes is not owned", len(item))
			}
			far.Release()
		}
		for _, item := range kept {
			if i, intact := numbered(item); !intact {
				t.Errorf("item %d changed", i)
			}
		}
		if len(kept) == 0 {
			t.Error("no item was owned")
		}
	})
}
