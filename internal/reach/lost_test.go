package reach

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/ship"
)

// A connection that ends just after the hello is there, or was not: who waits for it gets either it or why it ended.
func TestConnectionEndsAtItsBeginning(t *testing.T) {
	v := &village{}
	v.hasty.Store(true)
	lost := 0
	for range 300 {
		h := New(v, somewhere, Config{Patience: time.Minute})
		hello, err := h.Hello(t.Context())
		var e *Error
		switch {
		case err == nil && hello.Image == "image":
		case errors.As(err, &e) && e.Reason == Lost && e.Passing():
			lost++
		default:
			t.Fatalf("%v, %v", hello, err)
		}
		h.Close()
	}
	if lost == 0 {
		t.Error("no connection was lost, so the test tests nothing")
	}
	v.wg.Wait()
}

// A host whose connections end before a worker was started is left in peace as one is that cannot be connected to; one
// that has given workers is connected to again at once.
func TestPausesOfUselessConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &village{}
		v.hasty.Store(true)
		h := New(v, somewhere, Config{Patience: time.Minute})
		begin := time.Now()
		for range 10 {
			if _, _, err := h.Start(t.Context(), launch.Spec{}, 1); err == nil {
				t.Error("it started a worker")
			}
			synctest.Wait() // until the link has ended
		}
		if took := time.Since(begin); took < 30*time.Second {
			t.Errorf("ten connections in %v", took)
		}
		v.hasty.Store(false)
		w, _, err := h.Start(t.Context(), launch.Spec{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		echoes(t, w)
		v.cut()
		synctest.Wait()
		begin = time.Now()
		if _, _, err := h.Start(t.Context(), launch.Spec{}, 1); err != nil || time.Since(begin) > 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		h.Close()
		v.wg.Wait()
	})
}

// The end of a worker is not that of the way to its host, whether it shows while reading or while writing.
func TestWorkersAndHostsEndApart(t *testing.T) {
	v := &village{}
	h := New(v, somewhere, Config{Patience: time.Minute})
	start := func() *launch.Worker {
		w, _, err := h.Start(t.Context(), launch.Spec{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		echoes(t, w)
		return w
	}
	w := start()
	if err := w.Kill(); err != nil {
		t.Error(err)
	}
	_, read := io.ReadAll(w.Link())
	<-w.Done()
	_, written := w.Link().Write([]byte("hello"))
	if read != nil || !OwnEnd(io.EOF) || !OwnEnd(written) {
		t.Errorf("a worker was killed: %v, %v", read, written)
	}
	w = start()
	v.cut()
	_, read = io.ReadAll(w.Link())
	_, written = w.Link().Write([]byte("hello"))
	for what, err := range map[string]error{"Read": read, "Write": written, "Writev": w.Link().Writev([]byte("hello"))} {
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != Lost || e.Where != "/there" || OwnEnd(err) {
			t.Errorf("the link was cut, %s: %v", what, err)
		}
	}
	h.Close()
	v.wg.Wait()
}

// deadline is a context whose deadline passes when it is told so.
type deadline struct {
	context.Context
	passed chan struct{}
}

func (d deadline) Done() <-chan struct{} { return d.passed }

func (d deadline) Err() error {
	select {
	case <-d.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// Whose patience ends while a program is being built hears of that.
func TestGivingUpOnABuild(t *testing.T) {
	passes := deadline{context.Background(), make(chan struct{})}
	h := New(Here{}, Address{Scheme: "exec", Command: []string{"sh"}}, Config{Patience: time.Minute,
		Image: func(ctx context.Context, system string) (*ship.Image, error) {
			close(passes.passed)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}})
	_, err := h.Hello(passes)
	var e *Error
	if !errors.As(err, &e) || e.Reason != TimedOut || !errors.Is(err, context.DeadlineExceeded) ||
		!strings.Contains(err.Error(), "the program for "+runtime.GOOS+"/"+runtime.GOARCH+" was still being built") {
		t.Errorf("got %v", err)
	}
	h.Close()
}

// Who has named the host does not hear of it again.
func TestErrorsAtAHost(t *testing.T) {
	there := &Error{Where: "/there", Reason: Refused}
	for _, test := range []struct {
		at   *Address
		err  error
		want string
	}{
		{&somewhere, there, "connection refused"},
		{&Address{Scheme: "unix", Network: "/elsewhere"}, there, "/there: connection refused"},
		{nil, there, "/there: connection refused"},
		{&somewhere, errors.New("something else"), "something else"},
	} {
		if err := At(test.at, test.err); err.Error() != test.want {
			t.Errorf("got %q, want %q", err, test.want)
		}
	}
	if there.Where == "" || strings.Contains(At(&somewhere, there).Error(), "there") {
		t.Error(there)
	}
}
