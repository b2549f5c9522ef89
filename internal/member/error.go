package member

import (
	"strconv"
	"strings"
)

// Error says why a member could not be invoked, read or set: what this package found, never what a method returned.
type Error struct {
	Type      string // the object's type as Go prints it, such as "main.Counter"
	Member    string // the name that was asked for; a very long one is cut
	Signature string // what the member is, such as "Add(int) (int, error)" or "Total int"; empty if there is none of that name
	Reason    string // why not, in words; empty when Err says it, or when there is no such member and nothing to add
	Offers    string // what the type offers instead, as Type.Offers; empty where that would not help
	Err       error  // the cause, such as a *codec.Error; may be nil
}

// Error returns a line such as `main.Counter has no member "totl": did you mean Total? It offers …` or
// "main.Counter.Add(int) (int, error): takes 1 argument, and was given 2. main.Counter offers …".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Type)
	who := "It"
	if e.Signature == "" {
		b.WriteString(" has no member " + strconv.Quote(e.Member))
	} else {
		b.WriteString("." + e.Signature)
		who = e.Type
	}
	if e.Reason != "" {
		b.WriteString(": " + e.Reason)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Offers != "" {
		if !strings.HasSuffix(e.Reason, "?") || e.Err != nil {
			b.WriteString(".")
		}
		b.WriteString(" " + who + " offers " + e.Offers)
	}
	return b.String()
}

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }
