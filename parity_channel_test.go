package afar_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// ball is a number that grows with each stroke, and who struck last.
type ball struct{ Stroke, PID int }

var volleyer = afar.Routine(volley)

// volley is one side of a match, either of them: it sends what it has received
// back, one stroke on, and ends its direction after a hundred.
func volley(ctx context.Context, ch *afar.Channel[ball, ball]) error {
	for b, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		if b.PID == os.Getpid() {
			return errors.New("the ball comes from here")
		}
		if b.Stroke == 100 {
			break
		}
		if err := ch.Send(ctx, ball{b.Stroke + 1, os.Getpid()}); err != nil {
			return err
		}
	}
	return ch.CloseSend()
}

// Line 27: Remote code chosen by the caller, with a two-way channel; the same
// channel API on both ends. (Source text as remote code is not here: it belongs to
// guests, which come later.)
func TestParity27RemoteCodeWithAChannel(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:2")
	// One function is both ends of the conversation.
	for _, g := range pool.Gateways() {
		ch := start(t, volleyer, g)
		send(t, ch, ball{0, os.Getpid()})
		if err := volley(ctx, ch); err != nil {
			t.Error(err)
		}
		if err := ch.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
	// What runs over there is chosen here, at run time.
	for name, routine := range map[string]*afar.RoutineOf[string, string]{"as it is": parrot, "in capitals": shouter} {
		ch := start(t, routine, pool)
		send(t, ch, "hello")
		if got, want := next(t, ch), map[string]string{"as it is": "hello", "in capitals": "HELLO"}[name]; got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

var shouter = afar.Routine(shout)

func shout(ctx context.Context, ch *afar.Channel[string, string]) error {
	for item, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		if err := ch.Send(ctx, strings.ToUpper(item)); err != nil {
			return err
		}
	}
	return nil
}

// Line 28: close, half-close, EOF, error, iterate, wait, timeouts; callback on
// items with an end marker; as io.Reader/io.Writer.
func TestParity28LifeOfAChannel(t *testing.T) {
	ctx, d := within(t), newDesk(t)
	pool := open(t, "local:1")

	// Half-close in either direction, EOF, wait.
	ch := start(t, player, pool)
	send(t, ch, cue{Do: "say", N: 3}, cue{Do: "end"})
	for i := range 3 {
		if got := next(t, ch); got.N != i {
			t.Errorf("%+v", got)
		}
	}
	for range 2 {
		if _, err := ch.Recv(ctx); err != io.EOF {
			t.Errorf("after the routine's CloseSend: %v", err)
		}
	}
	send(t, ch, cue{}) // it still listens
	_ = ch.CloseSend()
	if err := ch.Wait(ctx); err != nil {
		t.Error(err)
	}

	// A callback for each item, and one for the end.
	ch = start(t, player, pool)
	send(t, ch, cue{Do: "say", N: 1000})
	_ = ch.CloseSend()
	called := make(chan int, 1001)
	go func() {
		for item, err := range ch.All(ctx) {
			if err != nil {
				t.Error(err)
			}
			called <- item.N
		}
		called <- -1
	}()
	for i := range 1000 {
		if got := receive(t, called); got != i {
			t.Fatalf("%d, want %d", got, i)
		}
	}
	if end := receive(t, called); end != -1 {
		t.Errorf("%d in place of the end", end)
	}

	// A timeout of one operation leaves the channel as it is; Close ends it on
	// both sides; an error arrives as what it was.
	ch = start(t, player, pool)
	brief, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	for what, err := range map[string]error{
		"Recv": func() error { _, err := ch.Recv(brief); return err }(), "Wait": ch.Wait(brief),
	} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	send(t, ch, cue{Do: "visit", Visit: visit{Desk: d.addr()}})
	v := d.next(t)
	_ = ch.Close()
	if said, err := v.says(t); err != nil || !strings.Contains(said, "closed by the caller") {
		t.Errorf("%q, %v", said, err)
	}
	over(t, ch, isError(afar.ErrClosed))
	ch = start(t, player, pool)
	send(t, ch, cue{Do: "fail"})
	over(t, ch, isError(errCue))

	// Readers and writers.
	up := start(t, digest, pool)
	w, hash := afar.NewWriter(up), sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, hash), noise(1<<20)); err != nil {
		t.Error(err)
	}
	_ = w.Close()
	if got, err := io.ReadAll(afar.NewReader(up)); err != nil || !bytes.Equal(got, hash.Sum(nil)) {
		t.Errorf("%x, %v", got, err)
	}
}

var settler = afar.Routine(settle)

// settle leaves a child process behind, says so, and heeds nothing any more.
func settle(ctx context.Context, ch *afar.Channel[int, visit]) error {
	v, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	pid, err := stayForever(ctx, v)
	if err != nil {
		return err
	}
	if err := ch.Send(ctx, pid); err != nil {
		return err
	}
	select {}
}

// Line 30: Groups: start on all, receive from each or any, bounded terminate that
// leaves no process behind.
func TestParity30Groups(t *testing.T) {
	ctx, d := within(t), newDesk(t)
	const n = 3
	pool := open(t, fmt.Sprint("local:", n))
	g := group(t, settler, pool)
	if err := g.Send(ctx, visit{Desk: d.addr(), Name: "worker"}); err != nil {
		t.Fatal(err)
	}
	pids := map[int]string{}
	for range n - 1 { // from any
		from, pid, err := g.Recv(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pids[pid] = from.ID()
	}
	from, pid, err := g.Recv(ctx)
	if err != nil {
		t.Fatal(err)
	}
	pids[pid] = from.ID()
	for _, w := range pool.Status().Workers {
		if pids[w.PID] != w.ID {
			t.Errorf("%d is %s, and not %q", w.PID, w.ID, pids[w.PID])
		}
	}
	each := group(t, parrot, pool) // from each
	if err := each.Send(ctx, "hello"); err != nil {
		t.Error(err)
	}
	for g, ch := range each.Channels() {
		if got := next(t, ch); got != "hello" {
			t.Errorf("%s says %q", g.ID(), got)
		}
	}
	visitors := make([]*visitor, 2*n) // the workers and their children
	for i := range visitors {
		visitors[i] = d.next(t)
	}
	// These routines never end by themselves, which bounds nothing.
	bound, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := pool.Shutdown(bound); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	for _, v := range visitors {
		v.gone(t)
	}
	for pid := range pids {
		if alive(pid) {
			t.Errorf("worker %d is there", pid)
		}
	}
	if err := g.Wait(ctx); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("%v", err)
	}
	if hasChildren() {
		t.Error("a worker is still there")
	}
}

// resident is the memory of this process, or 0 where that is not known.
func resident() int64 {
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	_, _ = fmt.Sscan(string(data), &size, &pages)
	return pages * int64(os.Getpagesize())
}

// offer offers ten gigabytes on a channel, until it is closed.
func offer(ctx context.Context, ch *afar.Channel[[]byte, []byte]) error {
	piece := make([]byte, 64<<10)
	for range 10 << 30 / len(piece) {
		if err := ch.Send(ctx, piece); err != nil {
			return err
		}
	}
	return nil
}

var (
	offerer = afar.Routine(offerMuch)
	ignorer = afar.Routine(ignoreAll)
)

// offerMuch offers ten gigabytes when it is told to.
func offerMuch(ctx context.Context, ch *afar.Channel[[]byte, []byte]) error {
	if _, err := ch.Recv(ctx); err != nil {
		return err
	}
	return offer(ctx, ch)
}

// ignoreAll reads nothing.
func ignoreAll(ctx context.Context, _ *afar.Channel[[]byte, []byte]) error {
	<-ctx.Done()
	return nil
}

func init() { roles["unread"] = unread }

// unread is a program that offers ten gigabytes to a routine that does not read,
// while it does not read what another offers, and calls functions over the same
// link. It prints how much memory it and its worker have more than before.
func unread() {
	ctx := context.Background()
	pool, err := afar.Open(ctx, "local:1")
	must(err)
	defer pool.Close()
	worker := func() afar.GatewayStatus { return pool.Status().Workers[0] }
	calls := func() {
		for i := range 2000 {
			_, err := square.On(pool)(ctx, i)
			must(err)
		}
	}
	calls()
	mine, theirs := resident(), worker().RSS
	ignores, err := ignorer.Start(ctx, pool)
	must(err)
	defer ignores.Close()
	offers, err := offerer.Start(ctx, pool)
	must(err)
	defer offers.Close()
	must(offers.Send(ctx, nil))
	offered := make(chan error, 1)
	go func() { offered <- offer(ctx, ignores) }()
	for s := worker().Channels; !s[0].Waiting || s[1].Unread < 1<<19; s = worker().Channels {
		select {
		case err := <-offered:
			panic(fmt.Sprint("everything was sent: ", err))
		case <-time.After(time.Millisecond):
		}
	}
	calls()
	s := worker().Channels
	fmt.Println(resident()-mine, worker().RSS-theirs, s[0].Sent*(64<<10), s[1].Unread)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Line 31: Flow control: an unread 10 GB stream holds < 10 MB on either side.
func TestParity31UnreadStream(t *testing.T) {
	cmd := exec.CommandContext(within(t), os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=unread")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var mine, theirs, sent, unread int
	if n, _ := fmt.Sscan(string(out), &mine, &theirs, &sent, &unread); err != nil || n != 4 {
		t.Fatalf("%q, %v", out, err)
	}
	if mine > 10_000_000 || theirs > 10_000_000 {
		t.Errorf("the caller holds %d bytes, the worker %d", mine, theirs)
	}
	if sent > 1<<20 || unread > 1<<20 {
		t.Errorf("more than a window: %d bytes were sent, %d are unread", sent, unread)
	}
	whole(t)
}

// whole sends 256 MiB to a routine that reads them by fits and starts.
func whole(t *testing.T) {
	const size = 256 << 20
	d, pool := newDesk(t), open(t, "local:1")
	ch := start(t, hoarder, pool)
	send(t, ch, []byte(d.addr()))
	sent := make(chan error, 1)
	want := sha256.New()
	go func() {
		w := afar.NewWriter(ch)
		_, err := io.Copy(w, io.TeeReader(noise(size), want))
		sent <- errors.Join(err, w.Close())
	}()
	for range size>>26 + 1 { // each 64 MiB, and before the end
		v := d.next(t)
		if out, err := square.On(pool)(within(t), 7); err != nil || out != 49 {
			t.Errorf("%d, %v", out, err)
		}
		v.release("read")
	}
	if got := next(t, ch); !bytes.Equal(got, want.Sum(nil)) {
		t.Error("not what was sent")
	}
	if err := receive(t, sent); err != nil {
		t.Error(err)
	}
	if err := ch.Wait(within(t)); err != nil {
		t.Error(err)
	}
}

// Line 32: A blocked consumer on one channel never delays another.
func TestParity32BlockedConsumer(t *testing.T) {
	ctx, d := within(t), newDesk(t)
	pool := open(t, "local:2")
	g := pool.Gateways()[0]
	var blocked sync.WaitGroup
	for range 10 {
		here, there := start(t, offerer, g), start(t, hoarder, g)
		send(t, here, nil)
		send(t, there, []byte(d.addr()))
		d.next(t)
		blocked.Go(func() {
			if err := offer(ctx, there); !errors.Is(err, afar.ErrClosed) {
				t.Error(err)
			}
		})
	}
	until(t, "all consumers are blocked", func() bool {
		s, _ := g.Status(ctx)
		return !slices.ContainsFunc(s.Channels, func(c afar.ChannelStatus) bool { return !c.Waiting && c.Unread < 1<<19 })
	})
	// Strokes of a match on the link with the blocked channels, and on one without
	// any, in turns, so that whatever else the machine does strikes both.
	match := func(g *afar.Gateway) *afar.Channel[string, string] { return start(t, parrot, g) }
	with, without := match(g), match(pool.Gateways()[1])
	var took [2][]time.Duration
	for range 2000 {
		for i, ch := range []*afar.Channel[string, string]{with, without} {
			begun := time.Now()
			send(t, ch, "stroke")
			next(t, ch)
			took[i] = append(took[i], time.Since(begun))
		}
	}
	for i := range took {
		slices.Sort(took[i])
	}
	t.Log("a stroke takes", took[0][1000], took[1][1000])
	if slow, quick := took[0][1000], took[1][1000]; slow > 5*quick {
		t.Errorf("a stroke takes %v beside blocked channels, and %v otherwise", slow, quick)
	}
	// Much may pass as well.
	up := start(t, digest, g)
	w := afar.NewWriter(up)
	if n, err := io.Copy(w, noise(20<<20)); n != 20<<20 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	_ = w.Close()
	next(t, up)
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
	blocked.Wait()
}
