package afar

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"

	"github.com/afar-go/afar/internal/codec"
	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/registry"
)

// Function is a function that can run elsewhere. It is immutable and safe for
// concurrent use.
//
// In and Out travel as CBOR: exported fields of structs, slices, maps, pointers,
// numbers, strings, times, big.Int, big.Rat and all types with text or binary
// marshalers. Unexported fields do not travel. Several arguments are a struct.
type Function[In, Out any] struct {
	f   *registry.Function
	in  *codec.Codec[In]
	out *codec.Codec[Out]
}

// Func registers a top-level function, named by its package and identifier.
// Call it in a package variable, so that workers know the function too:
//
//	var square = afar.Func(func1)
//
// It panics when f is anonymous or a method value, whose names change when the
// file is edited (use NamedFunc), or when In or Out cannot travel, naming the
// field that is the reason. Registering a function twice is harmless.
func Func[In, Out any](f func(context.Context, In) (Out, error)) *Function[In, Out] {
	if f == nil {
		panic("afar: Func(nil)")
	}
	pc := reflect.ValueOf(f).Pointer()
	return register("Func", topLevel("Func", pc, "Use a top-level function, or NamedFunc with a name of its own"), pc, f)
}

// topLevel returns the name of the function at pc. It panics when that is not
// one that the program gave, with advice.
func topLevel(how string, pc uintptr, advice string) string {
	at := runtime.FuncForPC(pc)
	if anonymous(at.Name()) {
		file, line := at.FileLine(pc)
		panic(fmt.Sprintf("afar: %s: %s (%s:%d) is not a top-level function: its name changes when the file is edited. %s",
			how, at.Name(), file, line, advice))
	}
	return at.Name()
}

// mustTravel returns the codec of T, or panics and says what of a function
// cannot travel.
func mustTravel[T any](how, what, name string) *codec.Codec[T] {
	c, err := codec.For[T]()
	if err != nil {
		panic(fmt.Sprintf("afar: %s: %s %s: %v", how, what, name, err))
	}
	return c
}

// add registers a function, or panics when its name is taken.
func add(how string, f *registry.Function) *registry.Function {
	added := registry.Add(f)
	if added.PC != f.PC {
		panic(fmt.Sprintf("afar: %s: the name %s is taken by another function of the same types", how, f.Name))
	}
	return added
}

// NamedFunc registers a function under a name: for closures and method values,
// and for names that outlive a build. What a closure has captured does not
// travel; each worker has its own. It panics when the name is empty or taken by
// another function of the same types, and in the cases in which Func does
// because of the types.
func NamedFunc[In, Out any](name string, f func(context.Context, In) (Out, error)) *Function[In, Out] {
	if f == nil {
		panic("afar: NamedFunc(" + name + "): nil function")
	}
	if name == "" {
		panic("afar: NamedFunc: empty name")
	}
	return register("NamedFunc", name, reflect.ValueOf(f).Pointer(), f)
}

func register[In, Out any](how, name string, pc uintptr, f func(context.Context, In) (Out, error)) *Function[In, Out] {
	in, out := mustTravel[In](how, "the input of", name), mustTravel[Out](how, "the output of", name)
	added := add(how, &registry.Function{
		Name: name, PC: pc,
		In: codec.TypeName(reflect.TypeFor[In]()), Out: codec.TypeName(reflect.TypeFor[Out]()),
		Invoke: func(ctx context.Context, input, dst []byte) ([]byte, error) {
			v, err := in.Decode(input)
			if err != nil {
				return nil, fmt.Errorf("input: %w", err)
			}
			result, err := f(ctx, v)
			if err != nil {
				return nil, err
			}
			if dst, err = out.Append(dst, result); err != nil {
				return nil, fmt.Errorf("output: %w", err)
			}
			return dst, nil
		},
	})
	return &Function[In, Out]{f: added, in: in, out: out}
}

// anonymous tells whether a function's name is the compiler's and not the
// program's: main.init.func1, main.f.func2.1, main.T.M-fm.
func anonymous(name string) bool {
	if strings.HasSuffix(name, "-fm") {
		return true
	}
	name = name[strings.LastIndexByte(name, '/')+1:]
	if i := strings.IndexByte(name, '['); i >= 0 { // a generic's arguments
		rest := name[i:]
		name = name[:i] + rest[strings.LastIndexByte(rest, ']')+1:]
	}
	if before, rest, ok := strings.Cut(name, ".("); ok { // a method's receiver
		_, after, _ := strings.Cut(rest, ")")
		name = before + after
	}
	return strings.Count(name, ".") > 1
}

// Name returns the function's name.
func (f *Function[In, Out]) Name() string { return f.f.Name }

// On returns the function as it runs on r, with its own signature: calling it
// sends the input there and waits for the output. It may be called
// concurrently.
//
// The error is what the function returned, as a *RemoteError that errors.Is and
// errors.As see through, or *RemoteError with Panic set; *WorkerLostError when
// its worker was lost as often as the policy allows; ErrTimeout, ErrTooLarge,
// ErrUnknownFunction, ErrClosed; or ctx's own. When ctx ends, the call returns
// at once and the function is stopped: its context is canceled, and its worker
// killed when that is not enough within the policy's Grace.
func (f *Function[In, Out]) On(r Runner) func(context.Context, In) (Out, error) {
	to := routeFor(r)
	to.prepare(f.f)
	return func(ctx context.Context, in In) (Out, error) {
		var out Out
		p := dispatch.NewPending()
		defer p.Put()
		input, err := f.in.Append(p.Buf[:0], in)
		if err != nil {
			return out, inputError(f.f.Name, err)
		}
		p.Buf = input
		result, err := to.run(ctx, f.f, p)
		if err != nil {
			return out, err
		}
		out, err = f.out.Decode(result.Output)
		result.Free()
		if err != nil {
			return out, fmt.Errorf("afar: output of %s: %w", f.f.Name, err)
		}
		return out, nil
	}
}

func inputError(name string, err error) error {
	return fmt.Errorf("afar: input of %s: %w", name, err)
}
