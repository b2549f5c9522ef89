package afar_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// The lines of parity.md that none of the four ancestors has.

// Line 37: Cancel a running call: context, grace, then the process group.
func TestParity37Cancel(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		ctx, cancel := context.WithCancelCause(within(t))
		failed := make(chan error, 1)
		go func() {
			_, err := waitAt.On(pool)(ctx, visit{Desk: d.addr()})
			failed <- err
		}()
		v := d.next(t)
		cancel(errors.New("changed my mind"))
		if said, err := v.says(t); err != nil || !strings.Contains(said, "changed my mind") {
			t.Errorf("the function's context says %q, %v", said, err)
		}
		if err := receive(t, failed); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "changed my mind") {
			t.Errorf("the call says %v", err)
		}
	})
	t.Run("grace, then the process group", func(t *testing.T) {
		d := newDesk(t)
		pool := open(t, "local:1")
		before, err := stay.On(pool)(within(t), visit{Desk: d.addr()})
		if err != nil {
			t.Fatal(err)
		}
		worker, guest := d.next(t), d.next(t)
		ctx, cancel := context.WithCancel(within(t))
		failed := make(chan error, 1)
		go func() {
			hard := afar.With(pool, afar.Policy{Grace: 10 * time.Millisecond})
			_, err := spinner.On(hard)(ctx, visit{Desk: d.addr(), Stubborn: true})
			failed <- err
		}()
		spinning := d.next(t)
		cancel()
		if err := receive(t, failed); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for _, v := range []*visitor{spinning, worker, guest} {
			v.gone(t)
		}
		if after, err := workerID.On(pool)(within(t), struct{}{}); err != nil || after == before {
			t.Errorf("process %d after %d, %v", after, before, err)
		}
	})
}

// Line 38: Retry with backoff; at-most-once by choice.
func TestParity38Retry(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:1")
	var pauses []int
	policy := afar.Policy{MaxAttempts: 4, Backoff: func(attempt int) time.Duration {
		pauses = append(pauses, attempt)
		return time.Duration(attempt) * time.Millisecond
	}}
	file := filepath.Join(t.TempDir(), "attempts")
	out, err := mortal.On(afar.With(pool, policy))(ctx, death{N: 5, File: file, Times: 3})
	if err != nil || out != 25 || count(file) != 4 {
		t.Errorf("%d, %v after %d attempts", out, err, count(file))
	}
	if len(pauses) != 3 || pauses[0] != 1 || pauses[2] != 3 {
		t.Errorf("pauses after attempts %v", pauses)
	}
	once := filepath.Join(t.TempDir(), "once")
	_, err = mortal.On(afar.With(pool, afar.Policy{MaxAttempts: 1}))(ctx, death{File: once, Times: 3})
	if !errors.Is(err, afar.ErrWorkerLost) || count(once) != 1 {
		t.Errorf("%v after %d attempts", err, count(once))
	}
}

// Line 44: An in-process mode through the same codec, for tests.
func TestParity44InProcess(t *testing.T) {
	ctx := within(t)
	pool := open(t, "inproc:2")
	pid, err := workerID.On(pool)(ctx, struct{}{})
	if err != nil || pid != os.Getpid() {
		t.Errorf("process %d, %v", pid, err)
	}
	shared := &parcel{Open: []string{"mine"}, sealed: "secret"}
	out, err := opener.On(pool)(ctx, shared)
	if err != nil {
		t.Fatal(err)
	}
	if out != "" {
		t.Errorf("an unexported field arrived: %q", out)
	}
	if shared.Open[0] != "mine" {
		t.Errorf("the function has changed the caller's value: %q", shared.Open)
	}
	if seen.Load() == shared {
		t.Error("the function got the caller's pointer")
	}
}

type parcel struct {
	Open   []string
	sealed string
}

var seen atomic.Pointer[parcel]

var opener = afar.Func(openParcel)

func openParcel(_ context.Context, p *parcel) (string, error) {
	seen.Store(p)
	p.Open[0] = "theirs"
	return p.sealed, nil
}
