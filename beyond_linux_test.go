package afar_test

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/hosttest"
)

// beyond opens a target through a gateway.
func through(t testing.TB, g *afar.Gateway, target string) *afar.Gateway {
	t.Helper()
	next, err := g.Open(within(t), target)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// A host that only another one can reach is reached through that one, to any depth.
func TestBeyondAHost(t *testing.T) {
	c := abroad(t)
	a := hosttest.NewHost(t, hosttest.Options{})
	b := hosttest.NewHost(t, hosttest.Options{Behind: a})
	pool := openWith(t, c, "local:1")
	near := through(t, pool.Gateways()[0], a.Target())
	at(t, near, a)
	far := through(t, near, "ssh://root@"+b.Address())
	at(t, far, b)
	beside := through(t, far, "local:1")
	if p, q := at(t, far, b), at(t, beside, b); p.PID == q.PID {
		t.Error("one process")
	}
	squares(t, far, 10_000, nil)
	squares(t, beside, 10_000, nil)
	if n := len(files(t, b)); n != 1 {
		t.Errorf("%d programs on the far host", n)
	}
	// A worker in between that dies takes those beyond with it, and all come back.
	do(t, near.Kill())
	at(t, beside, b)
	at(t, far, b)
	do(t, near.Close())
	alone(t, true, b, a)
	at(t, pool, thisMachine{})
}

// A cut cable on the way takes what is beyond with it, which notices.
func TestBeyondIsCut(t *testing.T) {
	c := abroad(t)
	a := hosttest.NewHost(t, hosttest.Options{})
	b := hosttest.NewHost(t, hosttest.Options{Behind: a})
	pool := openWith(t, c, a.Target("workers=1"))
	far := through(t, pool.Gateways()[0], "ssh://root@"+b.Address())
	first := at(t, far, b)
	do(t, b.Down())
	alone(t, false, b)
	do(t, b.Up())
	if second := at(t, far, b); second.PID == first.PID {
		t.Errorf("both are process %d", first.PID)
	}
	do(t, a.Down())
	alone(t, false, a, b)
	do(t, a.Up())
	at(t, far, b)
	do(t, pool.Close())
	alone(t, false, a, b)
}

// Any command that gives a shell is a way to a host.
func TestExec(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	shell := strings.Join(h.Shell(), " ")
	for target, place := range map[string]host{
		"exec:sh?workers=2":                                               thisMachine{},
		"exec:busybox sh?workers=2":                                       thisMachine{},
		"exec:env A=b dash?workers=2":                                     thisMachine{},
		"exec:" + shell + "?workers=2&env.B=c":                            h,
		"exec:" + strings.TrimSuffix(shell, " sh") + "?workers=2&env.B=c": h,
		"exec:ssh -F " + h.Config() + " -oBatchMode=yes root@" + h.Address() + "?workers=2&env.B=c": h,
	} {
		t.Run(target, func(t *testing.T) {
			pool := openWith(t, c, target)
			for _, g := range pool.Gateways() {
				at(t, g, place)
			}
			squares(t, pool, 10_000, nil)
			do(t, pool.Close())
			alone(t, true, h)
		})
	}
	refused(t, c, "exec:/missing/shell?workers=1", "command not found")
	refused(t, c, "exec:nsenter --target 1 -- /missing/shell?workers=1", "no shell", "command not found")
	refused(t, c, "exec:false?workers=1", "no shell")
	c.StartTimeout = 2 * time.Second
	tells(t, refused(t, c, "exec:env "+startVariable+"=silent sh?workers=1", "the program did not start"), "afar.Main()")
	tells(t, refused(t, c, "exec:sh -c 'while echo hello; do sleep 0.1; done'?workers=1", "timed out"), "hello")
}

func init() {
	starts["silent"] = func() { _, _ = io.Copy(io.Discard, os.Stdin) } // which never ends
}

// py.execnet's triangle: a message goes to the far worker, from there to the near one, and back.
func TestTriangle(t *testing.T) {
	ctx := within(t)
	c := abroad(t)
	a := hosttest.NewHost(t, hosttest.Options{})
	b := hosttest.NewHost(t, hosttest.Options{Behind: a})
	near := openWith(t, c, a.Target("workers=1")).Gateways()[0]
	far := through(t, near, "ssh://root@"+b.Address())
	back, err := stations.Start(ctx, near)
	do(t, err)
	defer back.Close()
	out, err := stations.Start(ctx, far)
	do(t, err)
	defer out.Close()
	do(t, back.Send(ctx, station{}))
	do(t, out.Send(ctx, station{Next: back.Ref()}))
	sent := make(chan error, 1)
	const items = 5000
	go func() {
		for i := range items {
			if err := out.Send(ctx, station{N: i}); err != nil {
				sent <- err
				return
			}
		}
		sent <- out.CloseSend()
	}()
	for i := range items {
		if n, err := back.Recv(ctx); err != nil || n != i+2 {
			t.Fatalf("item %d came back as %d, %v", i, n, err)
		}
	}
	if _, err := back.Recv(ctx); err != io.EOF {
		t.Errorf("after the last: %v", err)
	}
	do(t, receive(t, sent))
	do(t, out.Wait(ctx))
	do(t, back.Wait(ctx))
}
