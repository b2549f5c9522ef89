package afar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/afar-go/afar"
)

// A worker that is killed with 50 channels and 50 objects open ends all of them,
// with the reason, and later uses at once.
func TestKilledWithAHundredConversations(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:1")
	ends := make(chan error, 100)
	var channels []*afar.Channel[int, int]
	var objects []*afar.Object[guestbook]
	for range 50 {
		ch, err := mirror.Start(ctx, pool)
		if err != nil {
			t.Fatal(err)
		}
		channels = append(channels, ch)
		objects = append(objects, newBook(t, pool, "a"))
	}
	d := newDesk(t)
	for i := range 50 {
		go func() {
			_, err := channels[i].Recv(ctx)
			ends <- err
		}()
		go func() {
			_, err := linger.On(objects[i])(ctx, visit{Desk: d.addr(), Name: fmt.Sprint(i)})
			ends <- err
		}()
	}
	for range 50 {
		d.next(t)
	}
	status, err := pool.Gateways()[0].Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(status.Channels) != 50 || len(status.Objects) != 50 {
		t.Fatalf("%d channels and %d objects are open", len(status.Channels), len(status.Objects))
	}
	worker, err := os.FindProcess(status.PID)
	if err == nil {
		err = worker.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	reason := func(err error) {
		t.Helper()
		var lost *afar.WorkerLostError
		if !errors.As(err, &lost) || !errors.Is(err, afar.ErrWorkerLost) || lost.PID != status.PID || lost.Signal != "killed" {
			t.Errorf("ended with %v", err)
		}
	}
	for range 100 {
		reason(receive(t, ends))
	}
	for i := range 50 {
		reason(channels[i].Wait(ctx))
		_, err := afar.Get[string](ctx, objects[i], "Owner")
		reason(err)
	}
}

// station is an item of a ring: first where to send, then numbers.
type station struct {
	Next afar.ChannelRef[station, int]
	N    int
}

var stations = afar.Routine(passStations)

// passStations sends each number on, or back to its caller if it was told no
// other place.
func passStations(ctx context.Context, ch *afar.Channel[int, station]) error {
	first, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	if first.Next.String() == "no handle" {
		for s, err := range ch.All(ctx) {
			if err != nil {
				return err
			}
			if err := ch.Send(ctx, s.N+1); err != nil {
				return err
			}
		}
		return nil
	}
	next, err := first.Next.Bind(ctx)
	if err != nil {
		return err
	}
	defer next.Close()
	for s, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		if err := next.Send(ctx, station{N: s.N + 1}); err != nil {
			return err
		}
	}
	return next.CloseSend()
}

// A ring of three workers moves items by travelling handles: out of the caller,
// through all, and back, in order.
func TestRingOfThreeWorkers(t *testing.T) {
	items := 1_000_000
	if raceEnabled || testing.Short() {
		items = 100_000 // the race detector makes each hop ten times as long
	}
	ctx := within(t)
	pool := open(t, "local:3")
	var ring []*afar.Channel[station, int]
	for _, g := range pool.Gateways() {
		ch, err := stations.Start(ctx, g)
		if err != nil {
			t.Fatal(err)
		}
		defer ch.Close()
		ring = append(ring, ch)
	}
	for i, to := range []afar.ChannelRef[station, int]{ring[1].Ref(), ring[2].Ref(), {}} {
		if err := ring[i].Send(ctx, station{Next: to}); err != nil {
			t.Fatal(err)
		}
	}
	sent := make(chan error, 1)
	go func() {
		for i := range items {
			if err := ring[0].Send(ctx, station{N: i}); err != nil {
				sent <- err
				return
			}
		}
		sent <- ring[0].CloseSend()
	}()
	for i := range items {
		if n, err := ring[2].Recv(ctx); err != nil || n != i+3 {
			t.Fatalf("item %d came back as %d, %v", i, n, err)
		}
	}
	if _, err := ring[2].Recv(ctx); err != io.EOF {
		t.Errorf("after the last: %v", err)
	}
	if err := receive(t, sent); err != nil {
		t.Error(err)
	}
	for i, ch := range ring {
		if err := ch.Wait(ctx); err != nil {
			t.Errorf("station %d: %v", i, err)
		}
	}
}
