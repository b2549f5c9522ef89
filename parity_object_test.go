package afar_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/afar-go/afar"
)

// visits counts how often objects of this process were visited: DisPy's static
// member.
var visits int

// guestbook is DisPy's remote class.
type guestbook struct {
	Owner   string
	Entries []string
}

func newGuestbook(_ context.Context, owner string) (*guestbook, error) {
	return &guestbook{Owner: owner}, nil
}

// Sign adds an entry and returns how many there are.
func (g *guestbook) Sign(name string) int {
	g.Entries = append(g.Entries, name)
	visits++
	return len(g.Entries)
}

// Last is computed.
func (g *guestbook) Last() (string, error) {
	if len(g.Entries) == 0 {
		return "", os.ErrNotExist
	}
	return g.Entries[len(g.Entries)-1], nil
}

// PID says where it is computed.
func (g guestbook) PID() int { return os.Getpid() }

// Visits is the package's state.
func (g *guestbook) Visits() int { return visits }

// Stay waits at a desk.
func (g *guestbook) Stay(ctx context.Context, v visit) (string, error) { return visitDesk(ctx, v) }

var (
	guestbooks = afar.Class(newGuestbook)
	linger     = afar.Method((*guestbook).Stay)
)

// newBook makes a guestbook.
func newBook(t *testing.T, at afar.Opener, owner string) *afar.Object[guestbook] {
	t.Helper()
	book, err := guestbooks.New(within(t), at, owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	return book
}

// well returns what came without an error.
func well[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Line 12: a type becomes known to a server at run time; two instances keep
// separate state, seen through both handles.
func TestParity12TwoInstances(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:1")
	first, second := newBook(t, pool, "Ann"), newBook(t, pool, "Bob")
	for _, name := range []string{"x", "y", "z"} {
		well[int](t)(afar.Invoke[int](ctx, first, "Sign", name))
	}
	if n := well[int](t)(afar.Invoke[int](ctx, second, "Sign", "w")); n != 1 {
		t.Errorf("the second has %d entries", n)
	}
	if n := well[int](t)(afar.Invoke[int](ctx, first, "Sign", "w")); n != 4 {
		t.Errorf("the first has %d entries", n)
	}
	if a, b := well[string](t)(afar.Get[string](ctx, first, "Owner")), well[string](t)(afar.Get[string](ctx, second, "Owner")); a != "Ann" || b != "Bob" {
		t.Errorf("they belong to %s and %s", a, b)
	}
}

// Line 13: remote method, field read, field write, computed member; the method
// runs over there.
func TestParity13Members(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:1")
	book := newBook(t, pool, "Ann")
	status, err := pool.Gateways()[0].Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if pid := well[int](t)(afar.Get[int](ctx, book, "PID")); pid == os.Getpid() || pid != status.PID {
		t.Errorf("it runs in process %d, want %d and not %d", pid, status.PID, os.Getpid())
	}
	if _, err := afar.Get[string](ctx, book, "Last"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the last of none: %v", err)
	}
	well[int](t)(afar.Invoke[int](ctx, book, "Sign", "x"))
	if last := well[string](t)(afar.Get[string](ctx, book, "Last")); last != "x" {
		t.Errorf("computed %q", last)
	}
	if err := afar.Set(ctx, book, "Entries", []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if entries := well[[]string](t)(afar.Get[[]string](ctx, book, "Entries")); len(entries) != 2 || entries[1] != "b" {
		t.Errorf("the field has %v", entries)
	}
	if n := well[int](t)(afar.Invoke[int](ctx, book, "Sign", "c")); n != 3 {
		t.Errorf("after the write there are %d", n)
	}
}

// Line 14: package-level state is per worker process.
func TestParity14PackageState(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:2")
	one, other := pool.Gateways()[0], pool.Gateways()[1]
	first, second, apart := newBook(t, one, "a"), newBook(t, one, "b"), newBook(t, other, "c")
	for _, book := range []*afar.Object[guestbook]{first, first, second} {
		well[int](t)(afar.Invoke[int](ctx, book, "Sign", "x"))
	}
	for _, x := range []struct {
		book *afar.Object[guestbook]
		want int
	}{{first, 3}, {second, 3}, {apart, 0}} {
		if n := well[int](t)(afar.Get[int](ctx, x.book, "Visits")); n != x.want {
			t.Errorf("a worker has seen %d visits, want %d", n, x.want)
		}
	}
	if visits != 0 {
		t.Errorf("the caller has seen %d", visits)
	}
}

// Line 15: the server lists its objects; closing a handle frees the object; a
// lost caller's objects are freed, since no worker outlives its caller (line 23).
func TestParity15Objects(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:1")
	listed := func() []afar.ObjectStatus {
		status, err := pool.Gateways()[0].Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return status.Objects
	}
	first, second := newBook(t, pool, "a"), newBook(t, pool, "b")
	if all := listed(); len(all) != 2 || all[0].Class != guestbooks.Name() || all[0].Type == "" {
		t.Fatalf("listed %+v", all)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if all := listed(); len(all) != 1 {
		t.Errorf("after Close %+v", all)
	}
	if _, err := afar.Get[string](ctx, first, "Owner"); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("the closed one: %v", err)
	}
	if _, err := first.Ref().Bind(ctx); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("a handle on the closed one: %v", err)
	}
	if owner := well[string](t)(afar.Get[string](ctx, second, "Owner")); owner != "b" {
		t.Errorf("the other belongs to %q", owner)
	}
}

// Line 16: concurrent callers of one server do not block each other; calls on
// one object are serial.
func TestParity16Concurrency(t *testing.T) {
	ctx := within(t)
	pool, d := open(t, "local:1"), newDesk(t)
	busy, free := newBook(t, pool, "busy"), newBook(t, pool, "free")
	done := make(chan error, 1)
	go func() {
		_, err := linger.On(busy)(ctx, visit{Desk: d.addr(), Name: "guest"})
		done <- err
	}()
	guest := d.next(t)
	queued := make(chan error, 1)
	go func() {
		_, err := afar.Invoke[int](ctx, busy, "Sign", "after")
		queued <- err
	}()
	if n := well[int](t)(afar.Invoke[int](ctx, free, "Sign", "x")); n != 1 {
		t.Errorf("the other object has %d entries", n)
	}
	if n, err := square.On(pool)(ctx, 3); n != 9 || err != nil {
		t.Errorf("a call gave %d, %v", n, err)
	}
	select {
	case err := <-queued:
		t.Errorf("a call on the busy object did not wait: %v", err)
	default:
	}
	guest.release("go")
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
	if err := receive(t, queued); err != nil {
		t.Error(err)
	}
}

// Line 17: server start and stop from a program, as a value. XML-RPC is no part
// of this.
func TestParity17ServerAsAValue(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:1")
	book := newBook(t, pool, "a")
	if err := pool.Shutdown(ctx); err != nil { // objects do not hold it up
		t.Fatal(err)
	}
	if _, err := afar.Get[string](ctx, book, "Owner"); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("of a server that was stopped: %v", err)
	}
	if _, err := guestbooks.New(ctx, pool, "b"); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("a new one there: %v", err)
	}
	again := open(t, "local:1")
	if owner := well[string](t)(afar.Get[string](ctx, newBook(t, again, "c"), "Owner")); owner != "c" {
		t.Errorf("the next server's belongs to %q", owner)
	}
}

// Line 29: channels as values inside items, also across gateways.
func TestParity29ChannelsInItems(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:2")
	one, other := pool.Gateways()[0], pool.Gateways()[1]
	target, err := mirror.Start(ctx, one)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	decoy, err := mirror.Start(ctx, other) // whose stream has the same number over there
	if err != nil {
		t.Fatal(err)
	}
	defer decoy.Close()
	runner, err := errandRunner.Start(ctx, other)
	if err != nil {
		t.Fatal(err)
	}
	defer runner.Close()
	if err := runner.Send(ctx, errand{Line: line(target.Ref()), Do: "echo", N: 100}); err != nil {
		t.Fatal(err)
	}
	if sum := well[int](t)(runner.Recv(ctx)); sum == 0 {
		t.Error("nothing came back over the handle")
	}
	before := well[afar.GatewayStatus](t)(other.Status(ctx))
	for _, c := range before.Channels {
		if c.Routine == mirror.Name() && (c.Sent != 0 || c.Received != 0) {
			t.Errorf("the decoy was sent to: %+v", c)
		}
	}
	if err := target.Send(ctx, 5); err != nil { // the owner's end still is one
		t.Fatal(err)
	}
	well[int](t)(target.Recv(ctx))
}

// Line 33: remote status: running, queued, channels, uptime, versions, memory.
func TestParity33Status(t *testing.T) {
	ctx := within(t)
	pool, d := open(t, "local:1"), newDesk(t)
	book := newBook(t, pool, "a")
	ch, err := mirror.Start(ctx, pool)
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	if err := ch.Send(ctx, 1); err != nil {
		t.Fatal(err)
	}
	well[int](t)(ch.Recv(ctx))
	done := make(chan error, 2)
	go func() {
		_, err := waitAt.On(pool)(ctx, visit{Desk: d.addr(), Name: "call"})
		done <- err
	}()
	call := d.next(t)
	go func() {
		_, err := linger.On(book)(ctx, visit{Desk: d.addr(), Name: "method"})
		done <- err
	}()
	method := d.next(t)
	s := well[afar.GatewayStatus](t)(pool.Gateways()[0].Status(ctx))
	if s.Running != waitAt.Name() || s.Calls != 1 || s.State != afar.StateRunning {
		t.Errorf("it runs %q, %d calls, %s", s.Running, s.Calls, s.State)
	}
	if len(s.Channels) != 1 || s.Channels[0].Routine != mirror.Name() || s.Channels[0].Sent != 1 || s.Channels[0].Received != 1 || s.Channels[0].Uptime <= 0 {
		t.Errorf("channels %+v", s.Channels)
	}
	if len(s.Objects) != 1 || s.Objects[0].Calls != 1 {
		t.Errorf("objects %+v", s.Objects)
	}
	if s.Uptime <= 0 || s.Version == "" || s.System == "" || s.RSS <= 0 || s.PID == 0 {
		t.Errorf("the rest is %+v", s)
	}
	call.release("go")
	method.release("go")
	for range 2 {
		if err := receive(t, done); err != nil {
			t.Error(err)
		}
	}
}
