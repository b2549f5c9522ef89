package afar_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/afar-go/afar"
)

var errQuota = errors.New("quota exhausted")

// quotaError is an error with fields.
type quotaError struct {
	User  string
	Limit int
}

func (q *quotaError) Error() string { return fmt.Sprintf("%s has only %d", q.User, q.Limit) }

func init() {
	afar.RegisterError("afar_test.errQuota", errQuota)
	afar.RegisterErrorType[*quotaError]("afar_test.quotaError")
}

var grumbler = afar.Func(grumble)

func grumble(_ context.Context, how string) (int, error) {
	switch how {
	case "plain":
		return 0, errors.New("plain error")
	case "sentinel":
		return 0, fmt.Errorf("wrapped: %w", errQuota)
	case "typed":
		return 0, fmt.Errorf("wrapped: %w", &quotaError{"eve", 7})
	case "joined":
		return 0, errors.Join(errQuota, &quotaError{"bob", 1}, fs.ErrExist)
	case "path":
		_, err := os.Open("/no/such/file")
		return 0, err
	case "panic":
		panic("at the disco")
	case "panic with error":
		panic(fmt.Errorf("panicked: %w", errQuota))
	case "nil dereference":
		var none *quotaError
		return none.Limit, nil
	case "goexit":
		runtime.Goexit()
	}
	return 0, nil
}

// What a function returns comes back as a RemoteError in which errors.Is and
// errors.As find what they would find in the original.
func TestRemoteError(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1?id=solo")
		get := func(how string) *afar.RemoteError {
			t.Helper()
			_, err := grumbler.On(pool)(within(t), how)
			var remote *afar.RemoteError
			if !errors.As(err, &remote) {
				t.Fatalf("%s: %T %v", how, err, err)
			}
			if remote.Worker != "solo" || !strings.HasSuffix(remote.Function, "grumble") {
				t.Errorf("%s: %+v", how, remote)
			}
			return remote
		}
		if e := get("plain"); e.Message != "plain error" || e.Type != "*errors.errorString" || e.Panic || e.Stack != "" {
			t.Errorf("%+v", e)
		}
		if e := get("sentinel"); !errors.Is(e, errQuota) || errors.Is(e, fs.ErrExist) || e.Message != "wrapped: quota exhausted" {
			t.Errorf("%+v", e)
		}
		var quota *quotaError
		if e := get("typed"); !errors.As(e, &quota) || *quota != (quotaError{"eve", 7}) {
			t.Errorf("%+v", e)
		}
		if e := get("joined"); !errors.Is(e, errQuota) || !errors.Is(e, fs.ErrExist) || !errors.As(e, &quota) || quota.User != "bob" {
			t.Errorf("%+v", e)
		}
		var path *fs.PathError
		if e := get("path"); !errors.Is(e, fs.ErrNotExist) || !errors.As(e, &path) || path.Path != "/no/such/file" {
			t.Errorf("%+v", e)
		}
		if w := pool.Status().Workers[0]; w.Restarts != 0 || w.Failed != 5 || w.Done != 5 {
			t.Errorf("%+v", w)
		}
	})
}

// A panic is an error with the remote stack, and the worker lives on.
func TestPanic(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		pool := open(t, scheme+":1")
		for how, want := range map[string][2]string{
			"panic":            {"string", "at the disco"},
			"panic with error": {"*fmt.wrapError", "panicked: quota exhausted"},
			"nil dereference":  {"runtime.error", "nil pointer"},
		} {
			_, err := grumbler.On(pool)(ctx, how)
			var remote *afar.RemoteError
			if !errors.As(err, &remote) || !remote.Panic || !strings.HasPrefix(remote.Type, want[0]) {
				t.Errorf("%s: %#v", how, err)
				continue
			}
			if !strings.Contains(remote.Message, want[1]) || !strings.Contains(err.Error(), "panic") {
				t.Errorf("%s: %v", how, err)
			}
			if !strings.Contains(remote.Stack, "grumble") || !strings.Contains(remote.Stack, "error_test.go") {
				t.Errorf("%s: stack %s", how, remote.Stack)
			}
			if errors.Is(err, errQuota) != (how == "panic with error") {
				t.Errorf("%s: Is the sentinel: %v", how, errors.Is(err, errQuota))
			}
		}
		if out, err := square.On(pool)(ctx, 5); out != 25 || err != nil || pool.Status().Workers[0].Restarts != 0 {
			t.Errorf("afterwards: %d, %v", out, err)
		}
	})
}

// A function that ends its goroutine is answered for, and its worker lives on.
func TestGoexit(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		how := []string{"", "goexit", "plain", "goexit", ""}
		index := 0
		for _, err := range grumbler.Map(within(t), pool, func(yield func(string) bool) {
			for _, h := range how {
				if !yield(h) {
					return
				}
			}
		}) {
			if (err != nil) != (how[index] != "") || how[index] == "goexit" && !strings.Contains(err.Error(), "Goexit") {
				t.Errorf("%q: %v", how[index], err)
			}
			index++
		}
		if w := pool.Status().Workers[0]; index != len(how) || w.Restarts != 0 {
			t.Errorf("%d outcomes, %+v", index, w)
		}
	})
}

// ErrTimeout is what packages context and net call a timeout.
func TestErrTimeoutIsDeadlineExceeded(t *testing.T) {
	var timeout interface{ Timeout() bool }
	if !errors.Is(afar.ErrTimeout, context.DeadlineExceeded) || !errors.As(afar.ErrTimeout, &timeout) || !timeout.Timeout() {
		t.Errorf("%#v", afar.ErrTimeout)
	}
	if errors.Is(context.DeadlineExceeded, afar.ErrTimeout) {
		t.Error("every deadline is an ErrTimeout")
	}
}

// Names of errors are for one error each.
func TestRegisterErrorPanics(t *testing.T) {
	for want, register := range map[string]func(){
		"taken":         func() { afar.RegisterError("afar_test.errQuota", errors.New("another")) },
		"empty name":    func() { afar.RegisterError("", errQuota) },
		"nil error":     func() { afar.RegisterError("afar_test.nil", nil) },
		"another type":  func() { afar.RegisterErrorType[quotaError2]("afar_test.quotaError") },
		"RegisterError": func() { afar.RegisterErrorType[*quotaError]("") },
		"chan":          func() { afar.RegisterErrorType[leakyError]("afar_test.leaky") },
	} {
		if got := message(register); !strings.Contains(got, want) {
			t.Errorf("%q says nothing of %q", got, want)
		}
	}
	afar.RegisterError("afar_test.errQuota", errQuota) // the same again is harmless
}

type quotaError2 struct{ User string }

func (quotaError2) Error() string { return "another" }

type leakyError struct{ C chan int }

func (leakyError) Error() string { return "leaky" }
