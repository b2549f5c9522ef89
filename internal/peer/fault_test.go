package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// badError has methods that cannot be trusted.
type badError struct{ mode string }

func (b *badError) Error() string {
	switch b.mode {
	case "panic":
		panic("in Error")
	case "exit":
		runtime.Goexit()
	}
	return b.mode
}

func (b *badError) Is(error) bool {
	if b.mode == "is" {
		panic("in Is")
	}
	return false
}

func (b *badError) Unwrap() error {
	if b.mode == "unwrap" {
		panic("in Unwrap")
	}
	return nil
}

type badStringer struct{}

func (badStringer) String() string { panic("in String") }

func explode() { panic(fmt.Errorf("boom: %w", io.ErrUnexpectedEOF)) }

// misdeeds are functions that do not end as they should, by their input.
func misdeeds(ctx context.Context, s string) (string, error) {
	switch s {
	case "panic":
		panic("boom")
	case "error":
		explode()
	case "nil map":
		var m map[string]int
		//lint:ignore SA5000 it is to panic
		m["x"] = 1
	case "stringer":
		panic(badStringer{})
	case "exit":
		runtime.Goexit()
	case "nil pointer":
		var e *badError
		return "", e
	case "ok":
		return "fine", nil
	}
	return "", &badError{s[len("bad "):]}
}

func TestMisdeeds(t *testing.T) {
	for _, x := range []struct {
		input, kind, message string
		panics               bool
		is                   error
	}{
		{"panic", "string", "boom", true, nil},
		{"error", "*fmt.wrapError", "boom: unexpected EOF", true, io.ErrUnexpectedEOF},
		{"nil map", "runtime.plainError", "assignment to entry in nil map", true, nil},
		{"stringer", "peer.badStringer", "PANIC", true, nil},
		{"exit", "runtime.Goexit", "Goexit", true, nil},
		{"nil pointer", "*peer.badError", "methods panic", false, nil},
		{"bad panic", "*peer.badError", "methods panic", false, nil},
		{"bad is", "*peer.badError", "methods panic", false, nil},
		{"bad unwrap", "*peer.badError", "methods panic", false, nil},
		{"bad exit", "runtime.Goexit", "Goexit", true, nil},
		{"bad luck", "*peer.badError", "luck", false, nil},
	} {
		for _, slots := range []int{1, 2} {
			t.Run(fmt.Sprint(x.input, " ", slots), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, wire.Hello{Concurrency: slots}, misdeeds)
					r.send(1, in("ok", x.input, x.input, "ok")...)
					r.send(2, in("ok")...)
					es := r.take()
					if len(es) != 5 {
						t.Fatalf("got %v", es)
					}
					for _, e := range es {
						if e.place.Chunk == 2 || e.place.Index%3 == 0 {
							if e.payload != "fine" {
								t.Errorf("neighbour: %v", e)
							}
							continue
						}
						f := faultOf(t, e)
						if f.Type != x.kind || f.Panic != x.panics || !strings.Contains(f.Message, x.message) {
							t.Errorf("got %+v", f)
						}
						if x.is != nil && !errors.Is(f, x.is) {
							t.Errorf("%+v is not %v", f, x.is)
						}
						if x.panics && x.kind != "runtime.Goexit" && !strings.Contains(f.Stack, "peer.misdeeds") {
							t.Errorf("the stack does not name the function:\n%s", f.Stack)
						}
					}
					r.settled(slots)
				})
			})
		}
	}
}

type codeError struct {
	Code int
	Why  string
}

func (c *codeError) Error() string { return fmt.Sprintf("code %d: %s", c.Code, c.Why) }

type valueError struct{ N int }

func (v valueError) Error() string { return fmt.Sprint("value ", v.N) }

var errSentinel = errors.New("a sentinel")

func init() {
	RegisterError("peer.sentinel", errSentinel)
	for _, err := range []error{RegisterErrorType[*codeError]("peer.code"), RegisterErrorType[valueError]("peer.value")} {
		if err != nil {
			panic(err)
		}
	}
}

// across sends an error to the other side and back.
func across(t *testing.T, err error) *Fault {
	t.Helper()
	f, derr := DecodeError(EncodeError(err).Append(nil))
	if derr != nil {
		t.Fatal(derr)
	}
	return f
}

func TestErrorTrees(t *testing.T) {
	_, notExist := os.Open("/no/such/file")
	tree := errors.Join(
		fmt.Errorf("one: %w", &codeError{7, "because"}),
		fmt.Errorf("two: %w and %w", valueError{3}, errSentinel),
		notExist,
		&os.LinkError{Op: "link", Old: "a", New: "b", Err: syscall.EEXIST},
		os.NewSyscallError("dup", errors.New("odd")),
	)
	for range 2 { // the second time it goes on from where it came from
		f := across(t, tree)
		if f.Error() != tree.Error() {
			t.Errorf("message %q", f.Error())
		}
		for _, is := range []error{errSentinel, fs.ErrNotExist, fs.ErrExist, syscall.ENOENT, syscall.EEXIST} {
			if !errors.Is(f, is) {
				t.Errorf("it is not %v", is)
			}
		}
		if errors.Is(f, io.EOF) || errors.Is(f, context.Canceled) {
			t.Error("it is something that it was not")
		}
		var code *codeError
		var value valueError
		var path *fs.PathError
		var call *os.SyscallError
		if !errors.As(f, &code) || code.Code != 7 || code.Why != "because" || !errors.As(f, &value) || value.N != 3 {
			t.Errorf("registered types: %+v, %+v", code, value)
		}
		if !errors.As(f, &path) || path.Path != "/no/such/file" || !errors.As(f, &call) || call.Syscall != "dup" {
			t.Errorf("types of package os: %+v, %+v", path, call)
		}
		tree = f
	}
}

func TestHugeErrors(t *testing.T) {
	const size = 70 << 20 // over the default limit on messages
	huge := strings.Repeat("x", size)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, wire.Hello{Concurrency: 1}, func(_ context.Context, s string) (string, error) {
			switch s {
			case "panic":
				panic(huge)
			case "typed":
				return "", &codeError{1, huge}
			}
			return "", errors.New(huge)
		})
		r.send(1, in("error", "panic", "typed")...)
		for _, e := range r.expect("result 1.0 status 1", "result 1.1 status 1", "result 1.2 status 1") {
			f := faultOf(t, e)
			if len(e.payload) > 1<<20 || !strings.HasPrefix(strings.TrimPrefix(f.Message, "code 1: "), "xxx") {
				t.Errorf("a fault of %d bytes: %.40s", len(e.payload), f.Message)
			}
		}
		r.settled(1)
	})
}

func TestDecodeErrorFromAnywhere(t *testing.T) {
	for name, data := range map[string][]byte{
		"null pointer": {0xf6}, "undefined": {0xf7}, "wrong type": {0x01}, "cut": {0xa1}, "nothing": {},
		"list": {0x80}, "tag": {0xc0, 0xf6},
	} {
		for _, typed := range []string{"peer.code", "peer.value", "fs.PathError", "unknown"} {
			w := &wire.Fault{Type: "x", Typed: []wire.Typed{{Name: typed, Data: data}}, Sentinels: []string{"unknown", "io.EOF"}}
			f, err := DecodeError(w.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			var code *codeError
			if errors.As(f, &code) && code == nil {
				t.Errorf("%s in %s: a nil error", name, typed)
			}
			for _, cause := range f.Causes {
				_ = cause.Error() // does not panic
			}
			if !errors.Is(f, io.EOF) {
				t.Errorf("%s in %s: the sentinel is lost", name, typed)
			}
		}
	}
	if _, err := DecodeError([]byte{1, 2, 3}); !IsMalformed(err) {
		t.Errorf("got %v", err)
	}
}

// curious asks the registry from inside of its methods.
type curious struct{ seen *bool }

func (curious) Error() string { return "curious" }

func (c curious) Is(error) bool {
	*c.seen = true
	RegisterError("peer.sentinel", errSentinel)
	return false
}

func TestMethodsMayUseTheRegistry(t *testing.T) {
	seen := false
	f := across(t, curious{&seen})
	if !seen || f.Message != "curious" {
		t.Errorf("got %+v, seen: %v", f, seen)
	}
}

func TestOutputs(t *testing.T) {
	const limit = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, wire.Hello{Concurrency: 1, MaxItem: limit}, func(_ context.Context, s string) (string, error) {
			var n int
			_, err := fmt.Sscan(s, &n)
			return strings.Repeat(string('a'+rune(n%26)), n), err
		})
		sizes := []int{1, MaxChunk / 2, MaxChunk/2 + 1, MaxChunk - 1, MaxChunk, MaxChunk + 1, 3, 57 << 10, 60 << 10, 64 << 10, limit, limit + 1, 4}
		var calls []call
		for _, n := range sizes {
			calls = append(calls, call{input: fmt.Sprint(n)})
		}
		r.send(1, calls...)
		time.Sleep(time.Second)
		got := map[int]event{}
		for _, e := range r.take() {
			got[e.place.Index] = e
		}
		for i, n := range sizes {
			e := got[i]
			if n > limit {
				if f := faultOf(t, e); !errors.Is(f, ErrTooLarge) {
					t.Errorf("%d bytes: %+v", n, f)
				}
			} else if e.payload != strings.Repeat(string('a'+rune(n%26)), n) || e.status != 0 {
				t.Errorf("%d bytes arrived as %d, status %d", n, len(e.payload), e.status)
			}
		}
		r.settled(1)
	})
}
