package ring

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

func listening() (a, b *Memory) {
	a, b = Pair()
	a.Listen()
	b.Listen()
	return a, b
}

// Bytes come out as they went in, in both directions at once, however they are cut.
func TestEverythingArrivesInOrder(t *testing.T) {
	a, b := listening()
	var wg sync.WaitGroup
	for i, way := range [][2]*Memory{{a, b}, {b, a}} {
		payload := make([]byte, 5*Size+77)
		random := rand.New(rand.NewPCG(uint64(i), 0))
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		announced := make(chan int, 1<<16)
		wg.Go(func() { // the sender, which tells how much it has put
			defer close(announced)
			for left := payload; len(left) > 0; {
				n := min(len(left), 1+random.IntN(1<<random.IntN(19)))
				m := random.IntN(n + 1)
				if !way[0].Put(left[:m], left[m:n]) {
					runtime.Gosched()
					continue
				}
				announced <- n
				left = left[n:]
			}
		})
		wg.Go(func() {
			var got []byte
			at := 0
			for n := range announced {
				var err error
				if n%5 == 0 {
					err = way[1].Skip(n)
					got = append(got, payload[at:at+n]...)
				} else {
					got, err = way[1].Take(got, n)
				}
				if err != nil {
					t.Error(err)
				}
				at += n
			}
			if !bytes.Equal(got, payload) {
				t.Errorf("%d bytes came of %d, or others", len(got), len(payload))
			}
		})
	}
	wg.Wait()
}

func TestPutNeedsRoom(t *testing.T) {
	a, b := Pair()
	if a.Put([]byte("x"), nil) {
		t.Error("put to an end that does not listen")
	}
	b.Listen()
	all := make([]byte, Size)
	if a.Put(all, []byte("x")) {
		t.Error("put more than there is room for")
	}
	if !a.Put(all[:10], all[10:]) || a.Put([]byte("x"), nil) {
		t.Error("the room is not what it should be")
	}
	if err := b.Skip(1); err != nil {
		t.Error(err)
	}
	if !a.Put([]byte("x"), nil) || a.Put([]byte("y"), nil) {
		t.Error("the room that was made is not what it should be")
	}
	if _, err := b.Take(nil, Size+1); err == nil {
		t.Error("took more than was put")
	}
	if got, err := b.Take([]byte("before"), Size); err != nil || len(got) != 6+Size || got[len(got)-1] != 'x' {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := b.Skip(1); err == nil {
		t.Error("skipped what was not put")
	}
}

// A peer that writes nonsense to the words spoils its own bytes only.
func TestPeerThatWritesNonsense(t *testing.T) {
	a, b := listening()
	for _, n := range []uint64{1, Size + 1, 1 << 63, ^uint64(0)} {
		a.out.words.taken.Store(n) // as the receiver
		if a.Put(make([]byte, Size), nil) {
			t.Errorf("taken %d: there was room", n)
		}
		b.in.words.put.Store(n + Size) // as the sender
		if _, err := b.Take(nil, Size+1); err == nil {
			t.Errorf("put %d: more than the ring", n)
		}
	}
	if _, err := b.Take(nil, -1); err == nil {
		t.Error("took less than nothing")
	}
}

func TestClose(t *testing.T) {
	released := 0
	a, b := listening()
	a.release = func() { released++ }
	a.Close()
	a.Close()
	if released != 1 {
		t.Errorf("released %d times", released)
	}
	a.Listen()
	if a.Put([]byte("x"), nil) {
		t.Error("put after Close")
	}
	if _, err := a.Take(nil, 0); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := a.Skip(1); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if !b.Put([]byte("x"), nil) {
		t.Error("the other end's memory is its own")
	}
}
