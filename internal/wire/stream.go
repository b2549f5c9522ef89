package wire

import "encoding/binary"

// Purposes: the first byte of what a stream is opened for.
const (
	PurposeNotes   byte = iota + 1 // log records and progress; nothing follows
	PurposeRoutine                 // a conversation with a routine; an Info follows
	PurposeObject                  // a new object; an Info follows, and the first item is the constructor's argument
	PurposeHandle                  // what a Handle names, which follows
	PurposeStart                   // a worker to start; a Launch follows
	PurposeCommand                 // a command to run, whose standard streams are a link; a Launch follows
	PurposeRun                     // a program to run for a terminal; a Launch follows
	PurposeDial                    // a connection; its network and address follow
	PurposeLink                    // the bytes of what another stream has started, whose id follows
	PurposeImage                   // an image to keep; its hash and its size as it travels follow
	PurposeStatus                  // how the agent and its host are; nothing follows
)

// AppendPurpose appends the purpose of a stream for a routine or a new object.
func AppendPurpose(dst []byte, purpose byte, info *Info) []byte {
	return info.Append(append(dst, purpose))
}

// ParseInfo reads an Info that is the rest of something.
func ParseInfo(r *Reader) (*Info, error) {
	info := parseInfo(r)
	return info, r.End()
}

// Ways in which an end may finish a stream.
const (
	EndDone   byte = iota // there is nothing more to say
	EndFailed             // a routine returned an error or panicked: the fault
	EndClosed             // closed by its user, or its context has ended: the fault says why
	endCodes
)

// Ending is what a finished stream says last.
type Ending struct {
	Code   byte
	Logged uint64 // how many notes came before it
	Taken  uint64 // items that this end has given to its user
	Fault  []byte // of all but EndDone
}

// Append appends the ending.
func (e *Ending) Append(dst []byte) []byte {
	dst = append(dst, e.Code)
	dst = binary.AppendUvarint(dst, e.Logged)
	dst = binary.AppendUvarint(dst, e.Taken)
	return append(dst, e.Fault...)
}

// ParseEnding reads an ending that fills data. The fault aliases it.
func ParseEnding(data []byte) (*Ending, error) {
	r := NewReader(data)
	e := &Ending{Code: r.Byte(), Logged: r.Uvarint(), Taken: r.Uvarint()}
	if e.Code >= endCodes {
		r.fail("unknown ending")
	}
	if e.Fault = r.data; e.Code == EndDone {
		return e, r.End()
	}
	return e, r.Err()
}

// Handle names a channel's end or an object to those who do not have it.
type Handle struct {
	Path  []string // homes from the root to where it lives
	Token string   // which one there; not to be guessed
	Type  string   // its Go type, for those who bind it
	Label string   // where it lives, in words
	// Limit is how many bytes an item or a request may have there; 0: any.
	Limit int64
	// Program stands for the functions that the home knows, by whose positions
	// methods are named; empty when it does not matter.
	Program string
}

// Append appends the handle.
func (h *Handle) Append(dst []byte) []byte {
	dst = AppendPath(dst, h.Path)
	for _, s := range []string{h.Token, h.Type, h.Label, h.Program} {
		dst = AppendText(dst, s)
	}
	return AppendLong(dst, h.Limit)
}

// ParseHandle reads a handle that is the rest of something.
func ParseHandle(r *Reader) (*Handle, error) {
	h := &Handle{Path: parsePath(r), Token: r.Text(), Type: r.Text(), Label: r.Text(), Program: r.Text(), Limit: r.Long()}
	if len(h.Path) == 0 {
		r.fail("handle without a home")
	}
	return h, r.End()
}

// AppendPath appends the homes on the way from a root.
func AppendPath(dst []byte, path []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(path)))
	for _, home := range path {
		dst = AppendText(dst, home)
	}
	return dst
}

func parsePath(r *Reader) []string {
	var path []string
	for i, n := 0, r.Count(); i < n && r.Err() == nil; i++ {
		path = append(path, r.Text())
	}
	return path
}

// What an item of a channel's holder to its owner is: its first byte.
const (
	HolderItem   byte = iota // the rest is an item for the far side
	HolderStop               // it wants no more items; nothing follows
	HolderReturn             // the rest is an item that it was given and has not read
	HolderClose              // it sends no more items; nothing follows
	HolderUsed               // a number: so many items that it was given are read or returned
)

// What an item of a channel's owner to its holder is, after the welcome: its first
// byte.
const (
	OwnerItem byte = iota // the rest is an item from the far side
	OwnerEnd              // the far side sends no more items; the rest is an Ending if it has ended, else nothing
)

// Operations on an object.
const (
	OpCall   byte = iota // a method that the program declared; the input follows
	OpInvoke             // a method by name; a count and the arguments follow
	OpGet                // a field or a method without arguments, by name
	OpSet                // a field by name; the value follows
	OpCancel             // of an earlier request, whose number this has; a fault follows
	operations
)

// Request is one operation on an object.
type Request struct {
	ID     uint64 // chosen by the sender, unique while it is not answered
	Op     byte
	Info   *Info  // of all but OpCancel; Function is the method's position for OpCall
	Member string // of OpInvoke, OpGet and OpSet
	Input  []byte // what follows; aliases the message
}

// AppendHead appends all of the request but its input, which must follow.
func (q *Request) AppendHead(dst []byte) []byte {
	dst = append(binary.AppendUvarint(dst, q.ID), q.Op)
	if q.Op != OpCancel {
		dst = q.Info.Append(dst)
	}
	if q.named() {
		dst = AppendText(dst, q.Member)
	}
	return dst
}

func (q *Request) named() bool { return q.Op == OpInvoke || q.Op == OpGet || q.Op == OpSet }

// ParseRequest reads a request that fills data.
func ParseRequest(data []byte) (*Request, error) {
	r := NewReader(data)
	q := &Request{ID: r.Uvarint(), Op: r.Byte()}
	if q.Op >= operations {
		r.fail("unknown operation")
	}
	if q.Op != OpCancel {
		q.Info = parseInfo(r)
	}
	if q.named() {
		q.Member = r.Text()
	}
	q.Input = r.data
	return q, r.Err()
}

// AppendArguments appends the arguments of an OpInvoke.
func AppendArguments(dst []byte, args [][]byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(args)))
	for _, a := range args {
		dst = AppendBytes(dst, a)
	}
	return dst
}

// ParseArguments reads the arguments of an OpInvoke, which alias data.
func ParseArguments(data []byte) ([][]byte, error) {
	r := NewReader(data)
	var args [][]byte
	for i, n := 0, r.Count(); i < n && r.Err() == nil; i++ {
		args = append(args, r.Bytes())
	}
	return args, r.End()
}

// Reply is the answer to a Request.
type Reply struct {
	ID      uint64
	Status  byte   // StatusFailed, StatusLogged, StatusTyped, StatusNone
	Logged  uint64 // with StatusLogged
	Type    string // with StatusTyped: the Go type of the value
	Payload []byte // the output, or a fault; aliases the message
}

// Status flags of a reply, besides StatusFailed and StatusLogged.
const (
	StatusTyped = 1 << (iota + 3) // the type of the value follows
	StatusNone                    // the method returns no value
	replyFlags  = StatusFailed | StatusLogged | StatusTyped | StatusNone
)

// SetLogged says how many notes came before the reply.
func (p *Reply) SetLogged(n uint64) {
	if p.Logged = n; n > 0 {
		p.Status |= StatusLogged
	}
}

// AppendHead appends all of the reply but its payload, which must follow.
func (p *Reply) AppendHead(dst []byte) []byte {
	dst = append(binary.AppendUvarint(dst, p.ID), p.Status)
	if p.Status&StatusLogged != 0 {
		dst = binary.AppendUvarint(dst, p.Logged)
	}
	if p.Status&StatusTyped != 0 {
		dst = AppendText(dst, p.Type)
	}
	return dst
}

// ParseReply reads a reply that fills data.
func ParseReply(data []byte) (Reply, error) {
	r := Reader{data: data}
	p := Reply{ID: r.Uvarint(), Status: r.Flags(replyFlags)}
	if p.Status&StatusLogged != 0 {
		p.Logged = r.Uvarint()
	}
	if p.Status&StatusTyped != 0 {
		p.Type = r.Text()
	}
	p.Payload = r.data
	return p, r.err
}
