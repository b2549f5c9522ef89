package afar_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// What handles can be reached, and how much goes through them.

func init() {
	// giver prints handles on what is in its own workers, and in itself.
	roles["giver"] = func() {
		ctx := context.Background()
		pool, err := afar.Open(ctx, "local:1")
		if err != nil {
			panic(err)
		}
		defer pool.Close()
		ch, err := mirror.Start(ctx, pool)
		if err != nil {
			panic(err)
		}
		o, err := cellars.New(ctx, pool, lock{})
		if err != nil {
			panic(err)
		}
		for _, ref := range []interface{ MarshalBinary() ([]byte, error) }{ch.Ref(), o.Ref()} {
			b, err := ref.MarshalBinary()
			if err != nil {
				panic(err)
			}
			fmt.Println(hex.EncodeToString(b))
		}
		_, _ = os.Stdin.Read(make([]byte, 1)) // they live until the test has tried
	}
}

// says returns what binding a handle says, here and in a worker.
func says(t *testing.T, at *afar.Gateway, l line, o afar.ObjectRef[cellar]) (errs []error) {
	t.Helper()
	ctx := within(t)
	if l != (line{}) || o == (afar.ObjectRef[cellar]{}) {
		_, err := l.Bind(ctx)
		_, there := errands.On(at)(ctx, errand{Line: l, Do: "echo", N: 1})
		errs = append(errs, err, there)
	}
	if o != (afar.ObjectRef[cellar]{}) {
		_, err := o.Bind(ctx)
		_, there := errands.On(at)(ctx, errand{Cellar: &o, N: 1})
		errs = append(errs, err, there)
	}
	return errs
}

// A handle that names nothing, or nothing that can be reached, is a clear error that
// says what it is and where that was, wherever it is bound.
func TestHandlesThatCannotBeReached(t *testing.T) {
	ctx := within(t)
	pool, other := open(t, "local:2"), open(t, "local:1?id=z")
	there := pool.Gateways()[1]
	expect := func(what string, errs []error, parts ...string) {
		t.Helper()
		for i, err := range errs {
			for _, part := range parts {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%s: error %d: %v: nothing of %q", what, i, err, part)
				}
			}
		}
	}
	expect("a zero handle", says(t, there, line{}, afar.ObjectRef[cellar]{}), "names no channel")
	if _, err := (afar.ObjectRef[cellar]{}).Bind(ctx); err == nil || !strings.Contains(err.Error(), "names no object") {
		t.Error(err)
	}
	if text := (line{}).String() + (afar.ObjectRef[cellar]{}).String(); text != "no handleno handle" {
		t.Error(text)
	}

	ch, o := start(t, mirror, pool.Gateways()[0]), newObject(t, cellars, pool.Gateways()[0], lock{})
	lineRef, objectRef := ch.Ref(), o.Ref()
	if text := lineRef.String(); !strings.Contains(text, "Channel[int,int] in the program with pid "+fmt.Sprint(os.Getpid())) {
		t.Error(text)
	}
	if text := objectRef.String(); !strings.Contains(text, "cellar] in worker local-1 (pid ") {
		t.Error(text)
	}
	_ = ch.Close()
	_ = o.Close()
	expect("after Close", says(t, there, lineRef, objectRef), "closed")

	dead := newObject(t, cellars, other, lock{})
	giver := start(t, ownEnd, other.Gateways()[0])
	gone := next(t, giver)
	process, err := os.FindProcess(other.Status().Workers[0].PID)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := giver.Wait(ctx); !errors.Is(err, afar.ErrWorkerLost) {
		t.Error(err)
	}
	expect("a dead worker", says(t, there, line{}, dead.Ref())[2:], "cellar]", "worker z", "gone")
	_, err = gone.Own.Bind(ctx)
	_, errThere := plusOne.On(there)(ctx, gone)
	expect("a dead worker's routine", []error{err, errThere}, "gift", "worker z", "gone")

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=giver")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var foreignLine line
	var foreignObject afar.ObjectRef[cellar]
	for _, into := range []interface{ UnmarshalBinary([]byte) error }{&foreignLine, &foreignObject} {
		text := ""
		if _, err := fmt.Fscanln(stdout, &text); err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(text)
		if err == nil {
			err = into.UnmarshalBinary(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("another program's", says(t, there, foreignLine, foreignObject), "none of this program's processes", "pid ")
}

// Bytes that are no handle of the type do not decode; whatever does decode cannot be
// bound to anything but what it names.
func TestHandlesOfGarbage(t *testing.T) {
	ctx := within(t)
	pool := open(t, "inproc:2")
	ch, o := start(t, mirror, pool), newObject(t, cellars, pool, lock{})
	lineBytes, err := ch.Ref().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	objectBytes, err := o.Ref().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var l line
	var texts afar.ChannelRef[string, string]
	var c afar.ObjectRef[cellar]
	var f afar.ObjectRef[figure]
	for what, err := range map[string]error{
		"garbage":             l.UnmarshalBinary([]byte("garbage")),
		"an object's":         l.UnmarshalBinary(objectBytes),
		"other items":         texts.UnmarshalBinary(lineBytes),
		"a channel's":         c.UnmarshalBinary(lineBytes),
		"another type's":      f.UnmarshalBinary(objectBytes),
		"bytes too many":      l.UnmarshalBinary(append(bytes.Clone(lineBytes), 0)),
		"too few":             l.UnmarshalBinary(lineBytes[:len(lineBytes)-1]),
		"no path":             l.UnmarshalBinary([]byte{0, 0, 0, 0, 0}),
		"an object's garbage": c.UnmarshalBinary([]byte{1, 255}),
	} {
		if err == nil {
			t.Errorf("%s decodes", what)
		}
	}
	// Any byte may be wrong: it is refused, here or there, or is not what matters.
	for i := range lineBytes {
		for _, bytes := range [][]byte{bytes.Clone(lineBytes), bytes.Clone(objectBytes)} {
			if i >= len(bytes) {
				continue
			}
			bytes[i] ^= 1
			if l.UnmarshalBinary(bytes) == nil {
				if bound, err := l.Bind(ctx); err == nil {
					_ = bound.Close()
				}
			}
			if c.UnmarshalBinary(bytes) == nil {
				if bound, err := c.Bind(ctx); err == nil {
					_ = bound.Close()
				}
			}
		}
	}
	send(t, ch, 5)
	if n := next(t, ch); n != 5 {
		t.Error(n)
	}
	if n, err := deposit.On(o)(ctx, 1); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
}

// subcontractor opens workers of its own, and has one of them do an errand.
var subcontractor = afar.Func(nestErrand)

func nestErrand(ctx context.Context, e errand) (int, error) {
	pool, err := afar.Open(ctx, "inproc:1")
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	if e.Do != "" {
		return errands.On(pool)(ctx, e)
	}
	// The other way: what lives further down is given up to here, and used.
	o, err := cellars.New(ctx, pool, lock{Total: e.N})
	if err != nil {
		return 0, err
	}
	ref := o.Ref()
	return errands.On(afar.Caller(ctx))(ctx, errand{Cellar: &ref, N: 1})
}

// Handles lead through a worker to workers of its own, and back.
func TestHandlesOfNestedWorkers(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		pool := open(t, scheme+":3")
		at := pool.Gateways()
		ref := newObject(t, cellars, at[1], lock{Total: 10}).Ref()
		for what, e := range map[string]errand{"a channel": {Line: start(t, mirror, at[1]).Ref(), Do: "echo", N: 10}, "an object": {Cellar: &ref, Do: "deposit", N: 45}} {
			if sum, err := subcontractor.On(at[0])(ctx, e); err != nil || sum != 55 {
				t.Errorf("%s above: %d, %v", what, sum, err)
			}
		}
		if sum, err := subcontractor.On(at[0])(ctx, errand{N: 41}); err != nil || sum != 42 {
			t.Errorf("an object below: %d, %v", sum, err)
		}
	})
}

// freightLine is one end of a channel of large items.
type freightLine = afar.ChannelRef[[]byte, []byte]

var (
	idler   = afar.Routine(idleBytes)
	flooder = afar.Func(floodBytes)
)

// idleBytes reads nothing before its first item says so; then it counts the rest.
func idleBytes(ctx context.Context, ch *afar.Channel[[]byte, []byte]) error {
	first, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	if _, err := visitDesk(ctx, visit{Desk: string(first)}); err != nil {
		return err
	}
	n := 0
	for _, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		n++
	}
	return ch.Send(ctx, fmt.Append(nil, n))
}

// floodBytes sends as many items as go, until one of them does not for a while,
// and returns how many did.
func floodBytes(ctx context.Context, l freightLine) (int, error) {
	ch, err := l.Bind(ctx)
	if err != nil {
		return 0, err
	}
	defer ch.Close()
	for n := 0; ; n++ {
		soon, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		err := ch.Send(soon, make([]byte, 1000))
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return n, ch.CloseSend()
		} else if err != nil {
			return n, err
		}
	}
}

// What nobody reads holds up its sender, on whatever way: no more than the windows
// on it are ever under way. Others notice nothing, and all of it arrives.
func TestRoutesHoldBack(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx, d := within(t), newDesk(t)
		one, other := open(t, scheme+":2"), open(t, scheme+":1?id=z")
		for where, at := range map[string]*afar.Gateway{"same pool": one.Gateways()[1], "other pool": other.Gateways()[0]} {
			ch := start(t, idler, one.Gateways()[0])
			send(t, ch, []byte(d.addr()))
			reader := d.next(t)
			n, err := flooder.On(at)(ctx, ch.Ref())
			if err != nil {
				t.Fatal(err)
			}
			// Two links, each with a window of 1 MiB, and what is in between.
			if n < 1 || n > 3<<10 {
				t.Errorf("%s: %d KB were sent and not read", where, n)
			}
			for _, g := range append(one.Gateways(), at) {
				if out, err := square.On(g)(ctx, 3); err != nil || out != 9 {
					t.Errorf("%s: a call beside: %d, %v", where, out, err)
				}
			}
			reader.release("go on")
			if got := string(next(t, ch)); got != fmt.Sprint(n) {
				t.Errorf("%s: %s items arrived of %d", where, got, n)
			}
		}
	})
}

// ringNode passes items on, to whom the first says.
var ringNode = afar.Routine(passRing)

type ringItem struct {
	N    int
	Next *afar.ChannelRef[ringItem, int]
}

// passRing ends with the items, and sends nothing itself.
func passRing(ctx context.Context, ch *afar.Channel[int, ringItem]) error {
	first, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	next, err := first.Next.Bind(ctx)
	if err != nil {
		return err
	}
	defer next.Close()
	for item, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		if item.N--; item.N == 0 {
			return ch.Send(ctx, 1)
		}
		if err := next.Send(ctx, item); err != nil {
			return err
		}
	}
	return nil
}

// A ring of three workers, each with a handle on the next, in which some items go
// round until a million were passed on.
func TestRingOfHandles(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		total := 1_000_000
		if raceEnabled {
			total = 30_000 // the race detector makes each hop ten times as long
		}
		ctx := within(t)
		pool := open(t, scheme+":3")
		var ring []*afar.Channel[ringItem, int]
		for _, g := range pool.Gateways() {
			ring = append(ring, start(t, ringNode, g))
		}
		for i, ch := range ring {
			ref := ring[(i+1)%len(ring)].Ref()
			send(t, ch, ringItem{Next: &ref})
		}
		const items = 200
		finished := make(chan error, len(ring))
		for _, ch := range ring {
			go func() {
				_, err := ch.Recv(ctx)
				finished <- err
			}()
		}
		for i := range items {
			send(t, ring[i%len(ring)], ringItem{N: total / items})
		}
		if err := receive(t, finished); err != nil {
			t.Error(err)
		}
	})
}
