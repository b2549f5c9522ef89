package afar_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/afar-go/afar"
)

var (
	lender  = afar.Routine(lendItems)
	packer  = afar.Routine(repackItems)
	chooser = afar.Routine(choosePicky)
	digest  = afar.Routine(digestBytes)
	spring  = afar.Routine(pourBytes)
	hoarder = afar.Routine(hoardItems)
)

// lendItems sends back the bytes that it receives.
func lendItems(ctx context.Context, ch *afar.Channel[[]byte, []byte]) error {
	for item, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		if err := ch.Send(ctx, item); err != nil {
			return err
		}
	}
	return nil
}

func repackItems(ctx context.Context, ch *afar.Channel[freight, freight]) error {
	for item, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		if err := ch.Send(ctx, item); err != nil {
			return err
		}
	}
	return nil
}

// picky does not decode when it is empty, and does not encode when it is "no".
type picky string

func (p picky) MarshalText() ([]byte, error) {
	if p == "no" {
		return nil, errors.New("not this one")
	}
	return []byte(p), nil
}

func (p *picky) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("it is empty")
	}
	*p = picky(text)
	return nil
}

// choosePicky sends back what it receives, or why it could not.
func choosePicky(ctx context.Context, ch *afar.Channel[picky, picky]) error {
	for {
		item, err := ch.Recv(ctx)
		switch {
		case err == io.EOF:
			return nil
		case err != nil && item != "":
			return fmt.Errorf("%q with %w", item, err)
		case err != nil:
			item = picky(err.Error())
		case item == "give me nothing":
			item = ""
		}
		if err := ch.Send(ctx, item); err != nil {
			return err
		}
	}
}

// digestBytes sends the hash of what it receives.
func digestBytes(ctx context.Context, ch *afar.Channel[[]byte, []byte]) error {
	hash := sha256.New()
	if _, err := io.Copy(hash, afar.NewReader(ch)); err != nil {
		return err
	}
	return ch.Send(ctx, hash.Sum(nil))
}

// noise is as many random bytes, always the same.
func noise(n int) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), int64(n))
}

// pourBytes sends as many bytes of noise as it is told.
func pourBytes(ctx context.Context, ch *afar.Channel[[]byte, int]) error {
	n, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	w := afar.NewWriter(ch)
	if _, err := io.Copy(w, noise(n)); err != nil {
		return err
	}
	return w.Close()
}

// hoardItems reads nothing before it is told so at the desk, again and again
// after so many bytes; then it sends their hash and is told that it may go.
func hoardItems(ctx context.Context, ch *afar.Channel[[]byte, []byte]) error {
	first, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	hash, gulp := sha256.New(), 64<<20
	for r := afar.NewReader(ch); ; {
		if _, err := visitDesk(ctx, visit{Desk: string(first)}); err != nil {
			return err
		}
		if _, err := io.CopyN(hash, r, int64(gulp)); err == io.EOF {
			return ch.Send(ctx, hash.Sum(nil))
		} else if err != nil {
			return err
		}
	}
}

// until waits for something that must become true.
func until(t testing.TB, what string, isTrue func() bool) {
	t.Helper()
	for late := time.After(patience); !isTrue(); {
		select {
		case <-late:
			t.Fatalf("never: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// Items of any type that travels arrive whole; byte slices keep nil and empty
// apart and belong to who receives them.
func TestChannelItems(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		structs := start(t, packer, pool)
		for _, item := range []freight{{}, {Text: "häus\x00", Words: []string{"", "x"}, Bytes: []byte{0, 255}, Empty: []int{},
			Table: map[string][]float64{"e": {2.718281828459045}}, Next: &freight{Text: strings.Repeat("inner", 50_000)}, Any: []any{"x", int64(1), nil}}} {
			send(t, structs, item)
			if got := next(t, structs); !reflect.DeepEqual(got, item) {
				t.Errorf("%+v\nwant %+v", got, item)
			}
		}
		lent := start(t, lender, pool)
		var kept [][]byte
		items := [][]byte{nil, {}, {0}, []byte("abc"), make([]byte, 4096), bytes.Repeat([]byte("x"), 70_000), bytes.Repeat([]byte("y"), 3<<20)}
		for _, item := range items {
			mine := slices.Clone(item)
			send(t, lent, mine)
			for i := range mine {
				mine[i] = '?' // it is ours again
			}
			kept = append(kept, next(t, lent))
		}
		for i, item := range items {
			if got := kept[i]; !bytes.Equal(got, item) || (got == nil) != (item == nil) {
				t.Errorf("item %d: %d bytes (nil: %v), want %d (nil: %v)", i, len(got), got == nil, len(item), item == nil)
			}
			_ = append(kept[i], "overwritten"...)
		}
		_ = lent.CloseSend()
		if err := lent.Wait(within(t)); err != nil {
			t.Error(err)
		}
	})
}

// An item that does not encode or decode is an error, and the channel goes on.
func TestChannelItemsThatDoNotTravel(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ch := start(t, chooser, open(t, scheme+":1"))
		if err := ch.Send(within(t), "no"); err == nil || !strings.Contains(err.Error(), "not this one") || !strings.Contains(err.Error(), "choosePicky") {
			t.Errorf("%v", err)
		}
		send(t, ch, "", "give me nothing", "fine")
		if got := next(t, ch); !strings.Contains(string(got), "it is empty") {
			t.Errorf("the routine says %q", got)
		}
		if got, err := ch.Recv(within(t)); err == nil || got != "" || !strings.Contains(err.Error(), "it is empty") || errors.Is(err, afar.ErrClosed) {
			t.Errorf("%q, %v", got, err)
		}
		if got := next(t, ch); got != "fine" {
			t.Errorf("%q", got)
		}
	})
}

// An item may be exactly as large as MaxItem, in either direction; one that is
// larger is refused with both sizes, and nothing else is harmed.
func TestChannelMaxItem(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		for _, limit := range []int{0, 100_000, 3 << 20} {
			pool := openWith(t, afar.Config{MaxItem: int64(limit)}, scheme+":1")
			if limit == 0 {
				limit = 64 << 20
			}
			ch, down := start(t, lender, pool), start(t, spring, pool)
			item := make([]byte, limit+1)
			err := ch.Send(within(t), item)
			if !errors.Is(err, afar.ErrTooLarge) || !strings.Contains(err.Error(), fmt.Sprint(limit)) || !strings.Contains(err.Error(), fmt.Sprint(limit+1)) {
				t.Errorf("%v", err)
			}
			item[0], item[limit-1] = 1, 2
			send(t, ch, item[:limit])
			if got := next(t, ch); !bytes.Equal(got, item[:limit]) {
				t.Errorf("%d bytes come back", len(got))
			}
			send(t, down, 10)
			if got := next(t, down); len(got) != 10 {
				t.Errorf("%d bytes", len(got))
			}
			if out, err := square.On(pool)(within(t), 3); out != 9 || err != nil {
				t.Errorf("%d, %v", out, err)
			}
			_ = pool.Close()
		}
	})
}

// What a receiver of byte slices allocates is the slices; a sender nothing for
// them: they do not pass through the codec.
func TestChannelBytesAreNotCopied(t *testing.T) {
	pool := open(t, "local:1")
	ch := start(t, lender, pool)
	const size, rounds = 1 << 20, 20
	item := bytes.Repeat([]byte("z"), size)
	allocated := func(f func()) int {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return int(after.TotalAlloc - before.TotalAlloc)
	}
	round := func() {
		send(t, ch, item)
		if got := next(t, ch); len(got) != size {
			t.Fatalf("%d bytes", len(got))
		}
	}
	round()
	if got := allocated(func() {
		for range rounds {
			round()
		}
	}); got > rounds*size*3/2+1<<20 {
		t.Errorf("%d bytes are allocated for %d items of %d", got, rounds, size)
	}
}

// Bytes of any amount go through readers and writers whole, in both directions.
func TestChannelReaderAndWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 20 << 20} {
			want := sha256.New()
			_, _ = io.Copy(want, noise(size))
			up := start(t, digest, pool)
			w := afar.NewWriter(up)
			if n, err := io.Copy(w, noise(size)); n != int64(size) || err != nil {
				t.Fatalf("%d of %d bytes, %v", n, size, err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			if got := next(t, up); !bytes.Equal(got, want.Sum(nil)) {
				t.Errorf("%d bytes arrive changed", size)
			}
			if n, err := w.Write([]byte("late")); n != 0 || !errors.Is(err, afar.ErrClosed) {
				t.Errorf("Write after Close: %d, %v", n, err)
			}

			down := start(t, spring, pool)
			send(t, down, size)
			got := sha256.New()
			if n, err := io.Copy(got, afar.NewReader(down)); n != int64(size) || err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
				t.Errorf("%d of %d bytes, %v", n, size, err)
			}
		}
		down := start(t, spring, pool)
		send(t, down, 100_000)
		content, _ := io.ReadAll(noise(100_000))
		if err := iotest.TestReader(afar.NewReader(down), content); err != nil {
			t.Error(err)
		}
		// The far side's error is the reader's, and Close interrupts both.
		down = start(t, spring, pool)
		_ = down.CloseSend()
		var remote *afar.RemoteError
		if _, err := io.ReadAll(afar.NewReader(down)); !errors.As(err, &remote) || !errors.Is(err, io.EOF) {
			t.Errorf("%v", err)
		}
		ch := start(t, spring, pool)
		failed := make(chan error, 1)
		go func() { _, err := afar.NewReader(ch).Read(make([]byte, 1)); failed <- err }()
		_ = ch.Close()
		if err := receive(t, failed); !errors.Is(err, afar.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

// Send that waits for credit ends with its context, and the channel goes on.
func TestChannelSendIsCanceled(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d, pool := newDesk(t), open(t, scheme+":1")
		ch := start(t, hoarder, pool)
		send(t, ch, []byte(d.addr()))
		v := d.next(t)
		ctx, cancel := context.WithCancelCause(within(t))
		hash, failed := sha256.New(), make(chan error, 1)
		go func() {
			for chunk := bytes.Repeat([]byte("c"), 50_000); ; hash.Write(chunk) {
				if err := ch.Send(ctx, chunk); err != nil {
					failed <- err
					return
				}
			}
		}()
		channels := func() []afar.ChannelStatus { return pool.Status().Workers[0].Channels }
		until(t, "Send waits", func() bool { return channels()[0].Waiting })
		if n := channels()[0].Sent - 1; n*50_000 > 1<<20 || n*50_000 < 1<<19 {
			t.Errorf("%d items were sent to one who reads none", n)
		}
		changed := errors.New("changed my mind")
		cancel(changed)
		if err := receive(t, failed); !errors.Is(err, context.Canceled) || !errors.Is(err, changed) {
			t.Errorf("%v", err)
		}
		_ = ch.CloseSend()
		v.release("read")
		if got := next(t, ch); !bytes.Equal(got, hash.Sum(nil)) {
			t.Error("what arrived is not what was sent")
		}
		if err := ch.Wait(within(t)); err != nil {
			t.Error(err)
		}
	})
}

// A thousand conversations at a time.
func TestThousandChannels(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":4")
		const n = 1000
		var wg sync.WaitGroup
		var all, begin sync.WaitGroup
		all.Add(n)
		begin.Add(1)
		for i := range n {
			wg.Go(func() {
				ch, err := parrot.Start(within(t), pool)
				all.Done()
				if err != nil {
					t.Error(err)
					return
				}
				defer ch.Close()
				begin.Wait()
				for j := range 20 {
					want := fmt.Sprint(i, " ", j)
					if err := ch.Send(within(t), want); err != nil {
						t.Error(err)
					}
					if got, err := ch.Recv(within(t)); got != want || err != nil {
						t.Errorf("%q, %v, want %q", got, err, want)
					}
				}
				_ = ch.CloseSend()
				if err := ch.Wait(within(t)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, w := range pool.Status().Workers {
			if got := len(w.Channels); got < n/4-n/40 || got > n/4+n/40 {
				t.Errorf("%s has %d channels of %d", w.ID, got, n)
			}
		}
		begin.Done()
		wg.Wait()
		until(t, "no channel is open", func() bool {
			return !slices.ContainsFunc(pool.Status().Workers, func(w afar.GatewayStatus) bool { return len(w.Channels) > 0 })
		})
	})
}

// Items whose memory is given back are what was sent, and are received without memory
// for each.
func TestRecycle(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		const total = 32 << 20
		ch := start(t, spring, open(t, scheme+":1"))
		want, got := sha256.New(), sha256.New()
		if _, err := io.Copy(want, noise(total)); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := ch.Send(t.Context(), total); err != nil {
			t.Fatal(err)
		}
		for item, err := range ch.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got.Write(item)
			clear(item) // whoever still has it would notice
			afar.Recycle(item)
		}
		runtime.ReadMemStats(&after)
		if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
			t.Error("other bytes came")
		}
		// A part of what is given back is not used again: at each collection, and at random with the race detector.
		if n := after.TotalAlloc - before.TotalAlloc; scheme == "local" && n > total*3/4 {
			t.Errorf("%d bytes were allocated for %d", n, total)
		}
	})
}
