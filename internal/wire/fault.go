package wire

import "encoding/binary"

// Fault is an error on its way to the caller.
type Fault struct {
	Type      string // the error's Go type, or the panic value's
	Message   string
	Stack     string // of a panic
	Worker    string // where it happened, when that is not the sender
	Panic     bool
	Canceled  bool     // the call never began: its caller had canceled it
	Sentinels []string // names of the registered errors that errors.Is finds in it
	Typed     []Typed  // errors of registered types in its tree
}

// Typed is an error of a registered type.
type Typed struct {
	Name string
	Data []byte
}

const (
	faultPanic = 1 << iota
	faultCanceled
	faultFlags = 1<<iota - 1
)

// Append appends the fault.
func (f *Fault) Append(dst []byte) []byte {
	var flags byte
	if f.Panic {
		flags |= faultPanic
	}
	if f.Canceled {
		flags |= faultCanceled
	}
	dst = append(dst, flags)
	for _, s := range []string{f.Type, f.Message, f.Stack, f.Worker} {
		dst = AppendText(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(f.Sentinels)))
	for _, s := range f.Sentinels {
		dst = AppendText(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(f.Typed)))
	for _, t := range f.Typed {
		dst = AppendBytes(AppendText(dst, t.Name), t.Data)
	}
	return dst
}

// ParseFault reads a fault that fills data.
func ParseFault(data []byte) (*Fault, error) {
	r := NewReader(data)
	flags := r.Flags(faultFlags)
	f := &Fault{Panic: flags&faultPanic != 0, Canceled: flags&faultCanceled != 0}
	f.Type, f.Message, f.Stack, f.Worker = r.Text(), r.Text(), r.Text(), r.Text()
	for i, n := 0, r.Count(); i < n && r.Err() == nil; i++ {
		f.Sentinels = append(f.Sentinels, r.Text())
	}
	for i, n := 0, r.Count(); i < n && r.Err() == nil; i++ {
		name := r.Text()
		f.Typed = append(f.Typed, Typed{Name: name, Data: append([]byte(nil), r.Bytes()...)})
	}
	return f, r.End()
}
