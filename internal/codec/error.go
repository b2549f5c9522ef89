package codec

import (
	"reflect"
	"slices"
	"strings"
)

// Error says what could not be encoded or decoded, or which part of a type cannot travel.
type Error struct {
	Type   string // the type as Go prints it, such as "main.Job", without leading asterisks
	Path   string // the way from Type to the offender, such as `Next.Prev` or `Extra["k"]`; empty for Type itself
	Reason string // why, in words; empty when Err says it
	Err    error  // the cause; may be nil
}

// Error returns a line such as "codec: main.Job.Next.Prev: cyclic value".
func (e *Error) Error() string {
	reason := e.Reason
	if reason == "" && e.Err != nil {
		reason = e.Err.Error()
	}
	if e.Path == "" && strings.HasPrefix(reason, e.Type+" ") {
		return "codec: " + reason
	}
	dot := "."
	if e.Path == "" || e.Path[0] == '[' {
		dot = ""
	}
	return "codec: " + e.Type + dot + e.Path + ": " + reason
}

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

// typeText is the type as an Error names it. Leading pointers are dropped because paths look through them.
func typeText(t reflect.Type) string {
	if t == nil {
		return "nil"
	}
	return strings.ReplaceAll(strings.TrimLeft(t.String(), "*"), "interface {}", "any")
}

// A refusal is an Error in the making: the path grows at its end while the search for the offender unwinds.
type refusal struct {
	path   []string // segments, the innermost first: ".Field", "[3]", `["key"]`
	reason string
	deep   bool // the reason is the depth alone, which may be a cycle
}

func refuse(reason string) *refusal { return &refusal{reason: reason} }

// at adds the segment through which the offender was reached.
func (r *refusal) at(segment string) *refusal {
	r.path = append(r.path, segment)
	return r
}

// clone returns a refusal whose path can grow without changing r's.
func (r *refusal) clone() *refusal {
	c := *r
	c.path = slices.Clone(r.path)
	return &c
}

// error returns the refusal of something in a value of type t. Very long paths lose their middle.
func (r *refusal) error(t reflect.Type) *Error {
	const head, tail = 24, 8
	path := slices.Clone(r.path)
	slices.Reverse(path)
	if len(path) > head+tail {
		path = slices.Concat(path[:head], []string{"…"}, path[len(path)-tail:])
	}
	return &Error{
		Type:   typeText(t),
		Path:   strings.TrimPrefix(strings.Join(path, ""), "."),
		Reason: r.reason,
	}
}
