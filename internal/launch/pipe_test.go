package launch

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
)

func TestPipeEnds(t *testing.T) {
	type result struct {
		n   int
		err error
	}
	read := func(l Link) result {
		n, err := l.Read(make([]byte, 10))
		return result{n, err}
	}
	write := func(l Link) result {
		n, err := l.Write([]byte("xyz"))
		return result{n, err}
	}
	writev := func(l Link) result { return result{0, l.Writev([]byte("x"), []byte("yz"))} }
	closed, eof := io.ErrClosedPipe, io.EOF

	for _, test := range []struct {
		name        string
		before      func(a, b Link)
		do          func(l Link) result
		onA, onB    result
		skipA, skip bool
	}{
		{name: "write", do: write, onA: result{3, nil}, onB: result{3, nil}},
		{name: "writev", do: writev},
		{name: "write, b closed", before: func(a, b Link) { b.Close() }, do: write, onA: result{0, closed}, onB: result{0, closed}},
		{name: "writev, b closed", before: func(a, b Link) { b.Close() }, do: writev, onA: result{0, closed}, onB: result{0, closed}},
		{name: "read, b closed", before: func(a, b Link) { b.Close() }, do: read, onA: result{0, eof}, onB: result{0, closed}},
		{name: "read, b wrote and closed", before: func(a, b Link) { b.Write([]byte("last")); b.Close() }, do: read,
			onA: result{4, nil}, onB: result{0, closed}},
		{name: "read, both wrote, b closed", before: func(a, b Link) { a.Write([]byte("lost")); b.Write([]byte("last")); b.Close() }, do: read,
			onA: result{4, nil}, onB: result{0, closed}},
		{name: "read, both closed", before: func(a, b Link) { b.Write([]byte("lost")); b.Close(); a.Close() }, do: read,
			onA: result{0, closed}, onB: result{0, closed}},
		{name: "close twice", before: func(a, b Link) { b.Close() }, do: func(l Link) result { return result{0, l.Close()} }},
		{name: "read nothing", do: func(l Link) result { n, err := l.Read(nil); return result{n, err} }},
		{name: "write nothing", do: func(l Link) result { n, err := l.Write(nil); return result{n, err} }},
		{name: "writev nothing", do: func(l Link) result { return result{0, l.Writev(nil, []byte{})} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := Pipe()
			if test.before != nil {
				test.before(a, b)
			}
			if got := test.do(a); got != test.onA {
				t.Errorf("a: %v, want %v", got, test.onA)
			}
			if got := test.do(b); got != test.onB {
				t.Errorf("b: %v, want %v", got, test.onB)
			}
		})
	}
}

// Whatever the sizes of reads and writes, the bytes arrive in order.
func TestPipeCarriesEverything(t *testing.T) {
	for seed := range uint64(5) {
		random := rand.New(rand.NewPCG(seed, 0))
		payload := make([]byte, 2<<20)
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		cuts := rand.New(rand.NewPCG(seed, 1))
		a, b := Pipe()
		go func() {
			for left := payload; len(left) > 0; {
				n := min(len(left), cuts.IntN(1<<(1+cuts.IntN(19))))
				m := cuts.IntN(n + 1)
				_ = a.Writev(left[:m], nil, left[m:n])
				left = left[n:]
			}
			a.Close()
		}()
		var got []byte
		for {
			p := make([]byte, 1+random.IntN(1<<(1+random.IntN(19))))
			n, err := b.Read(p)
			got = append(got, p[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, payload) {
			t.Errorf("seed %d: %d bytes of %d", seed, len(got), len(payload))
		}
	}
}

func TestPipeWritersDoNotInterleave(t *testing.T) {
	a, b := Pipe()
	const writers, records, size = 4, 10, 300_000 // more than the pipe holds
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			record := bytes.Repeat([]byte{byte('a' + i)}, size)
			for range records {
				_ = a.Writev(record[:1], record[1:])
			}
		})
	}
	record := make([]byte, size)
	for range writers * records {
		if _, err := io.ReadFull(b, record); err != nil {
			t.Fatal(err)
		}
		if bytes.Count(record, record[:1]) != size {
			t.Fatal("two writes interleaved")
		}
	}
	group.Wait()
}

// Every wait inside a pipe is a durable one: synctest.Wait returns while goroutines are in it.
func TestPipeBlocksDurably(t *testing.T) {
	for name, closeOne := range map[string]func(a, b Link){
		"own end":   func(a, b Link) { a.Close() },
		"other end": func(a, b Link) { b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := Pipe()
				var group sync.WaitGroup
				errs := make(chan error, 3)
				for range 2 { // one waits for space, one for its turn
					group.Go(func() {
						n, err := a.Write(make([]byte, pipeCapacity+1))
						if n > pipeCapacity {
							t.Errorf("%d bytes", n)
						}
						errs <- err
					})
				}
				group.Go(func() {
					_, err := a.Read(make([]byte, 1))
					errs <- err
				})
				synctest.Wait()
				if len(errs) != 0 {
					t.Fatal("nobody should have finished")
				}
				closeOne(a, b)
				group.Wait()
				eofs, closed := 0, 0
				for range 3 {
					switch <-errs {
					case io.EOF:
						eofs++
					case io.ErrClosedPipe:
						closed++
					}
				}
				wantEOF := 0
				if name == "other end" {
					wantEOF = 1
				}
				if eofs != wantEOF || closed != 3-wantEOF {
					t.Errorf("%d io.EOF, %d io.ErrClosedPipe", eofs, closed)
				}
			})
		})
	}
}

// The bound holds: exactly 256 KiB are taken before a writer waits, and a read lets it go on.
func TestPipeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		if n, err := a.Write(make([]byte, pipeCapacity)); n != pipeCapacity || err != nil {
			t.Fatal(n, err)
		}
		done := false
		go func() {
			_, _ = a.Write([]byte("more"))
			done = true
		}()
		synctest.Wait()
		if done {
			t.Error("the pipe took more than its capacity")
		}
		_, _ = b.Read(make([]byte, 4))
		synctest.Wait()
		if !done {
			t.Error("the writer still waits")
		}
	})
}
