// Package registry maps the names and types of a program's functions to the
// functions. It is filled while the program starts and is the same in every
// process of one image, which is what makes a function callable elsewhere: its
// identity is the image, its name and its full types, never the order of
// registration or an address.
package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// ErrUnknown means that a worker, or an object in one, does not have what was
// asked for.
var ErrUnknown = errors.New("afar: unknown function")

// Kind says what a registered function is.
type Kind uint8

// Kinds of functions.
const (
	Call    Kind = iota // one input, one output
	Routine             // talks over a channel
	Class               // constructs an object
	Method              // of an object
)

// Function is a registered function. It is immutable.
type Function struct {
	Kind    Kind
	Name    string // what users see
	In, Out string // full names of its types
	// Invoke decodes the input, calls the function and appends the encoding of
	// its output to dst. A panic of the function passes through it. It is set for
	// Call only.
	Invoke func(ctx context.Context, input, dst []byte) ([]byte, error)
	// Body is the other kinds' function, as those who run them know it.
	Body any
	// PC is the function's entry, to tell two of one name apart.
	PC uintptr
	// Late is true when the function was registered after Main: other processes
	// do not know it.
	Late bool
}

// prefixes tell functions of one name and different kinds apart.
var prefixes = [...]string{Call: "", Routine: "routine ", Class: "class ", Method: "method "}

// Key is the function's identity within an image.
func (f *Function) Key() string { return prefixes[f.Kind] + f.Name + "(" + f.In + ") " + f.Out }

var table struct {
	sync.RWMutex
	byKey  map[string]*Function
	sealed bool
}

// Add registers f and returns it, or the one registered before with the same
// name and types, so that registering twice is harmless. Another function by
// the same name and other types is a different function.
func Add(f *Function) *Function {
	table.Lock()
	defer table.Unlock()
	if old := table.byKey[f.Key()]; old != nil {
		return old
	}
	if table.byKey == nil {
		table.byKey = map[string]*Function{}
	}
	f.Late = table.sealed
	table.byKey[f.Key()] = f
	return f
}

// Seal marks the end of registration that all processes share: Main calls it.
func Seal() {
	table.Lock()
	defer table.Unlock()
	table.sealed = true
}

// Sealed tells whether Seal was called.
func Sealed() bool {
	table.RLock()
	defer table.RUnlock()
	return table.sealed
}

// Lookup returns the function of a key, or nil.
func Lookup(key string) *Function {
	table.RLock()
	defer table.RUnlock()
	return table.byKey[key]
}

// Functions returns all functions sorted by key.
func Functions() []*Function {
	table.RLock()
	defer table.RUnlock()
	all := make([]*Function, 0, len(table.byKey))
	for _, f := range table.byKey {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *Function) int { return strings.Compare(a.Key(), b.Key()) })
	return all
}

// Describe says what names are known, for errors about one that is not.
func Describe(keys []string) string {
	const most = 8
	if len(keys) == 0 {
		return "none"
	}
	if len(keys) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(keys[:most], ", "), len(keys)-most)
	}
	return strings.Join(keys, ", ")
}
