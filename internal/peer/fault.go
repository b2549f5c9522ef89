package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/afar-go/afar/internal/codec"
	"github.com/afar-go/afar/internal/wire"
)

// Errors travel as their text, the names of the registered errors that they
// are in the sense of errors.Is, and the registered types in their tree with
// their fields. So errors.Is and errors.As work on the other side without
// sending anything that only looks like the original.

// Fault is an error that came over a link.
type Fault struct {
	Type, Message, Stack string
	Worker               string // where it happened, when not in the far end of the link
	Panic                bool
	Canceled             bool    // never begun
	Causes               []error // the registered errors and typed errors that it is
}

// Error returns the message.
func (f *Fault) Error() string { return f.Message }

// Unwrap returns what the error is for errors.Is and errors.As.
func (f *Fault) Unwrap() []error { return f.Causes }

// known is what is registered. Methods of users' errors are never called while
// it is locked.
var known = struct {
	sync.RWMutex
	list      []named // the sentinels; only ever appended to
	sentinels map[string]error
	types     map[string]errorType
	byType    map[reflect.Type]string
}{
	sentinels: map[string]error{
		"context.Canceled":         context.Canceled,
		"context.DeadlineExceeded": context.DeadlineExceeded,
		"io.EOF":                   io.EOF,
		"io.ErrUnexpectedEOF":      io.ErrUnexpectedEOF,
		"io.ErrClosedPipe":         io.ErrClosedPipe,
		"io.ErrNoProgress":         io.ErrNoProgress,
		"io.ErrShortWrite":         io.ErrShortWrite,
		"fs.ErrInvalid":            fs.ErrInvalid,
		"fs.ErrPermission":         fs.ErrPermission,
		"fs.ErrExist":              fs.ErrExist,
		"fs.ErrNotExist":           fs.ErrNotExist,
		"fs.ErrClosed":             fs.ErrClosed,
		"os.ErrDeadlineExceeded":   os.ErrDeadlineExceeded,
		"os.ErrProcessDone":        os.ErrProcessDone,
		"errors.ErrUnsupported":    errors.ErrUnsupported,
		"strconv.ErrRange":         strconv.ErrRange,
		"strconv.ErrSyntax":        strconv.ErrSyntax,
	},
	types:  map[string]errorType{},
	byType: map[reflect.Type]string{},
}

type named struct {
	name string
	err  error
}

// errorType encodes and decodes errors of one type.
type errorType struct {
	name   string
	encode func(error) ([]byte, error)
	decode func([]byte) (error, error)
}

// RegisterError makes errors.Is find sentinel on the other side. It panics
// when the name or the error is taken: that is a mistake in the program.
func RegisterError(name string, sentinel error) {
	known.Lock()
	defer known.Unlock()
	if old, ok := known.sentinels[name]; ok && old != sentinel {
		panic(fmt.Sprintf("afar: RegisterError: the name %q is taken by %q", name, old))
	}
	if _, again := known.sentinels[name]; !again {
		known.list = append(known.list, named{name, sentinel})
	}
	known.sentinels[name] = sentinel
}

// RegisterErrorType makes errors.As find errors of type E on the other side,
// with their exported fields.
func RegisterErrorType[E error](name string) error {
	var check error
	t := reflect.TypeFor[E]()
	c, check := codec.For[E]()
	if check != nil {
		return check
	}
	return registerType(name, t, errorType{
		encode: func(err error) ([]byte, error) { return c.Append(nil, err.(E)) },
		decode: func(data []byte) (error, error) {
			e, err := c.Decode(data)
			if v := reflect.ValueOf(e); err == nil && (!v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()) {
				err = errors.New("nil error")
			}
			return e, err
		},
	})
}

func registerType(name string, t reflect.Type, e errorType) error {
	known.Lock()
	defer known.Unlock()
	if old, ok := known.byType[t]; ok && old != name {
		return fmt.Errorf("type %v is registered as %q", t, old)
	}
	if _, ok := known.types[name]; ok && known.byType[t] != name {
		return fmt.Errorf("the name %q is taken by another type", name)
	}
	e.name = name
	known.types[name] = e
	known.byType[t] = name
	return nil
}

func typeNamed(name string) (e errorType, ok bool) {
	known.RLock()
	defer known.RUnlock()
	e, ok = known.types[name]
	return e, ok
}

// EncodeError encodes any error but nil.
func EncodeError(err error) *wire.Fault {
	f := &wire.Fault{Type: fmt.Sprintf("%T", err), Message: cutText(err.Error(), maxMessage)}
	if remote, ok := err.(*Fault); ok {
		f.Type, f.Stack, f.Panic, f.Worker = remote.Type, remote.Stack, remote.Panic, remote.Worker
	}
	known.RLock()
	list := known.list
	known.RUnlock()
	for _, s := range list {
		if errors.Is(err, s.err) {
			f.Sentinels = append(f.Sentinels, s.name)
		}
	}
	size := 0
	walk(err, func(e error) {
		known.RLock()
		name, ok := known.byType[reflect.TypeOf(e)]
		known.RUnlock()
		if !ok || len(f.Typed) == maxTyped {
			return
		}
		t, _ := typeNamed(name)
		data, err := t.encode(e)
		if err == nil && size+len(data) > maxMessage {
			err = fmt.Errorf("%d bytes, too many", len(data))
		}
		if err == nil {
			f.Typed = append(f.Typed, wire.Typed{Name: name, Data: data})
			size += len(data)
		} else {
			f.Message += fmt.Sprintf(" (its %s did not encode: %v)", name, err)
		}
	})
	return f
}

const (
	// maxTyped bounds how many typed errors of one tree travel.
	maxTyped = 16
	// maxMessage bounds the bytes of an error's text and those of its typed
	// errors: with them it stays below any limit on messages, since one over it
	// would end the link.
	maxMessage = 256 << 10
)

func walk(err error, visit func(error)) {
	if err == nil {
		return
	}
	visit(err)
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		walk(u.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, e := range u.Unwrap() {
			walk(e, visit)
		}
	}
}

// DecodeError decodes what EncodeError encoded. It fails only on bytes that
// break the protocol; what this program has not registered is left out.
func DecodeError(data []byte) (*Fault, error) {
	w, err := wire.ParseFault(data)
	if err != nil {
		return nil, err
	}
	f := &Fault{Type: w.Type, Message: w.Message, Stack: w.Stack, Worker: w.Worker, Panic: w.Panic, Canceled: w.Canceled}
	for _, t := range w.Typed {
		if e, ok := typeNamed(t.Name); ok {
			if cause, err := e.decode(t.Data); err == nil {
				f.Causes = append(f.Causes, cause)
			}
		}
	}
	known.RLock()
	defer known.RUnlock()
	for _, name := range w.Sentinels {
		if s, ok := known.sentinels[name]; ok {
			f.Causes = append(f.Causes, s)
		}
	}
	return f, nil
}

// pathError carries the errors of package os, whose inner error is an
// interface: usually an error number, which means the same only on the same
// operating system.
type pathError struct {
	Op, Path, New, Text, System string
	Number                      int
}

func (p *pathError) inner() error {
	if p.Number != 0 && p.System == runtime.GOOS {
		return syscall.Errno(p.Number)
	}
	return errors.New(p.Text)
}

func describePath(op, path, to string, inner error) ([]byte, error) {
	p := pathError{Op: op, Path: path, New: to, System: runtime.GOOS}
	if inner != nil {
		p.Text = inner.Error()
	}
	var number syscall.Errno
	if errors.As(inner, &number) {
		p.Number = int(number)
	}
	return codec.Marshal(p)
}

func registerPath(name string, t reflect.Type, encode func(error) ([]byte, error), build func(*pathError) error) {
	err := registerType(name, t, errorType{encode: encode, decode: func(data []byte) (error, error) {
		var p pathError
		if err := codec.Unmarshal(data, &p); err != nil {
			return nil, err
		}
		return build(&p), nil
	}})
	if err != nil {
		panic(err)
	}
}

// Errors that several packages give.
var (
	// ErrClosed means that the user of something has closed it.
	ErrClosed = errors.New("afar: closed")
	// ErrWorkerLost means that a worker is gone.
	ErrWorkerLost = errors.New("afar: worker lost")
)

func init() {
	for _, name := range slices.Sorted(maps.Keys(known.sentinels)) {
		known.list = append(known.list, named{name, known.sentinels[name]})
	}
	registerPath("fs.PathError", reflect.TypeFor[*fs.PathError](), func(err error) ([]byte, error) {
		e := err.(*fs.PathError)
		return describePath(e.Op, e.Path, "", e.Err)
	}, func(p *pathError) error { return &fs.PathError{Op: p.Op, Path: p.Path, Err: p.inner()} })
	registerPath("os.LinkError", reflect.TypeFor[*os.LinkError](), func(err error) ([]byte, error) {
		e := err.(*os.LinkError)
		return describePath(e.Op, e.Old, e.New, e.Err)
	}, func(p *pathError) error { return &os.LinkError{Op: p.Op, Old: p.Path, New: p.New, Err: p.inner()} })
	registerPath("os.SyscallError", reflect.TypeFor[*os.SyscallError](), func(err error) ([]byte, error) {
		e := err.(*os.SyscallError)
		return describePath(e.Syscall, "", "", e.Err)
	}, func(p *pathError) error { return &os.SyscallError{Syscall: p.Op, Err: p.inner()} })
	RegisterError("afar.ErrTooLarge", ErrTooLarge)
}

// EncodeShort encodes an error for the end of a stream, which has room for
// maxEnding bytes: of one that takes more, the text is cut and the stack and the
// typed errors are left out.
func EncodeShort(err error) []byte {
	f := FaultOf(err)
	if b := f.Append(nil); len(b) <= maxEnding {
		return b
	}
	f.Typed = nil
	if b := f.Append(nil); len(b) <= maxEnding {
		return b
	}
	f.Message, f.Stack = cutText(f.Message, maxEnding/4), cutText(f.Stack, maxEnding/4)
	f.Type, f.Worker = cutText(f.Type, 1<<10), cutText(f.Worker, 1<<10)
	f.Sentinels = f.Sentinels[:min(len(f.Sentinels), 64)]
	if b := f.Append(nil); len(b) <= maxEnding {
		return b
	}
	f.Sentinels = nil // with names of kilobytes
	return f.Append(nil)
}

// maxEnding is how many bytes a fault at the end of a stream may have.
const maxEnding = 40 << 10
