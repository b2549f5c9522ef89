package wire

import (
	"encoding/binary"
	"time"
)

// Type is the first byte of a message and says what follows.
type Type uint8

// Types of messages. Calls travel in chunks: a chunk is what one message
// carries, what is started as one, and what a reply refers to.
const (
	TypeHello   Type = iota + 1 // both ways, first
	TypeCalls                   // a chunk of calls
	TypeResults                 // results of calls of one chunk, in order
	TypeRelease                 // the calls of a chunk from an index on come back unharmed
	TypePark                    // a call waits for calls of its own and gives up its slot
	TypeUnpark                  // and has a slot again
	TypeCancel                  // end a call
)

// Hello is the first message in both directions.
type Hello struct {
	Version     int
	Image       string // identity of the program's bytes
	Worker      string // the worker's id
	Host        string
	PID         int
	System      string // GOOS/GOARCH
	Go          string // runtime.Version
	Concurrency int    // calls at a time; said by the caller
	MaxItem     int64  // bytes; said by the caller
	Keepalive   time.Duration
	Functions   []string // keys, sorted; said by the worker. Calls name them by position.
	Home        []string // of the worker, with the homes above it: said by the caller
}

// Append appends the message.
func (h *Hello) Append(dst []byte) []byte {
	dst = append(dst, byte(TypeHello))
	dst = AppendInt(dst, h.Version)
	for _, s := range []string{h.Image, h.Worker, h.Host, h.System, h.Go} {
		dst = AppendText(dst, s)
	}
	dst = AppendInt(AppendInt(dst, h.PID), h.Concurrency)
	dst = AppendLong(AppendLong(dst, h.MaxItem), int64(h.Keepalive))
	dst = binary.AppendUvarint(dst, uint64(len(h.Functions)))
	for _, f := range h.Functions {
		dst = AppendText(dst, f)
	}
	return AppendPath(dst, h.Home)
}

// ParseHello reads what follows the type. Of another version it reads only
// the version, since nothing else is known of its layout.
func ParseHello(r *Reader) (*Hello, error) {
	h := &Hello{Version: r.Int()}
	if r.Err() == nil && h.Version != Version {
		return h, nil
	}
	for _, s := range []*string{&h.Image, &h.Worker, &h.Host, &h.System, &h.Go} {
		*s = r.Text()
	}
	h.PID = r.Int()
	h.Concurrency = r.Int()
	h.MaxItem = r.Long()
	h.Keepalive = duration(r)
	n := r.Count()
	for i := 0; i < n && r.Err() == nil; i++ {
		h.Functions = append(h.Functions, r.Text())
	}
	h.Home = parsePath(r)
	return h, r.End()
}

// Info is what a call carries besides its input. Calls that share one also
// share its bytes in a chunk.
type Info struct {
	Function    int           // position in the worker's list
	Attempt     int           // counts from 1
	Depth       int           // 0 for a program's own calls, one more for each call within a call
	MaxAttempts int           // 0: the default
	Timeout     time.Duration // of this attempt; 0: none
	Grace       time.Duration // between cancel and kill; 0: the default
	Remaining   time.Duration // until the caller's own deadline; 0: none
	LogLevel    int           // lowest level that the caller wants to see
	NoLog       bool          // the caller wants no records at all
	Header      map[string]string
	ParentChunk uint64 // of a call within a call: its parent
	ParentIndex int
}

const (
	infoTimeout = 1 << iota
	infoRemaining
	infoHeader
	infoParent
	infoNoLog
	infoPolicy
	infoFlags = 1<<iota - 1
)

// Append appends the info.
func (c *Info) Append(dst []byte) []byte {
	var flags byte
	set := func(on bool, bit byte) {
		if on {
			flags |= bit
		}
	}
	set(c.Timeout > 0, infoTimeout)
	set(c.Remaining > 0, infoRemaining)
	set(len(c.Header) > 0, infoHeader)
	set(c.Depth > 0, infoParent)
	set(c.NoLog, infoNoLog)
	set(c.MaxAttempts > 0 || c.Grace > 0, infoPolicy)
	dst = append(dst, flags)
	dst = AppendInt(AppendInt(dst, c.Function), c.Attempt)
	dst = AppendVarint(dst, int64(c.LogLevel))
	if flags&infoTimeout != 0 {
		dst = AppendLong(dst, int64(c.Timeout))
	}
	if flags&infoRemaining != 0 {
		dst = AppendLong(dst, int64(c.Remaining))
	}
	if flags&infoPolicy != 0 {
		dst = AppendLong(AppendInt(dst, c.MaxAttempts), int64(c.Grace))
	}
	if flags&infoParent != 0 {
		dst = AppendInt(dst, c.Depth)
		dst = AppendInt(binary.AppendUvarint(dst, c.ParentChunk), c.ParentIndex)
	}
	if flags&infoHeader != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(c.Header)))
		for k, v := range c.Header {
			dst = AppendText(AppendText(dst, k), v)
		}
	}
	return dst
}

func duration(r *Reader) time.Duration { return time.Duration(r.Long()) }

func parseInfo(r *Reader) *Info {
	flags := r.Flags(infoFlags)
	c := &Info{Function: r.Int(), Attempt: r.Int(), LogLevel: int(r.Varint()), NoLog: flags&infoNoLog != 0}
	if flags&infoTimeout != 0 {
		c.Timeout = duration(r)
	}
	if flags&infoRemaining != 0 {
		c.Remaining = duration(r)
	}
	if flags&infoPolicy != 0 {
		c.MaxAttempts = r.Int()
		c.Grace = duration(r)
	}
	if flags&infoParent != 0 {
		c.Depth = r.Int()
		c.ParentChunk = r.Uvarint()
		c.ParentIndex = r.Int()
	}
	if flags&infoHeader != 0 {
		n := r.Count()
		c.Header = make(map[string]string, min(n, 64))
		for i := 0; i < n && r.Err() == nil; i++ {
			k := r.Text()
			c.Header[k] = r.Text()
		}
	}
	return c
}

// AppendCalls begins a chunk of n calls; AppendCall appends each.
func AppendCalls(dst []byte, chunk uint64, n int) []byte {
	dst = append(dst, byte(TypeCalls))
	dst = binary.AppendUvarint(dst, chunk)
	return binary.AppendUvarint(dst, uint64(n))
}

// AppendCall appends the front of one call: info, or nil when it is the same
// as the call's before it, and the length of the input that must follow.
func AppendCall(dst []byte, info *Info, input int) []byte {
	if info == nil {
		dst = append(dst, 0)
	} else {
		dst = info.Append(append(dst, 1))
	}
	return binary.AppendUvarint(dst, uint64(input))
}

// ParseCalls reads the front of a chunk.
func ParseCalls(r *Reader) (chunk uint64, n int, err error) {
	chunk = r.Uvarint()
	n = r.Count()
	if r.Err() == nil && n == 0 {
		r.fail("empty chunk")
	}
	return chunk, n, r.Err()
}

// ParseCall reads one call. last is the info of the call before it.
func ParseCall(r *Reader, last *Info) (info *Info, input []byte, err error) {
	switch r.Byte() {
	case 0:
		if info = last; info == nil {
			r.fail("first call of a chunk without info")
		}
	case 1:
		info = parseInfo(r)
	default:
		r.fail("unknown call form")
	}
	input = r.Bytes()
	return info, input, r.Err()
}

// Status flags of a result.
const (
	StatusFailed = 1 << iota // the payload is a Fault, not the output
	StatusLate               // the call ended after its Timeout
	StatusLogged             // the number of the last log record follows
	statusFlags  = 1<<iota - 1
)

// AppendResults begins the results of n calls of a chunk, from the call at
// first on; elapsed is the time that they took together.
func AppendResults(dst []byte, chunk uint64, first, n int, elapsed time.Duration) []byte {
	dst = append(dst, byte(TypeResults))
	dst = binary.AppendUvarint(dst, chunk)
	dst = binary.AppendUvarint(dst, uint64(first))
	dst = binary.AppendUvarint(dst, uint64(n))
	return AppendLong(dst, int64(elapsed))
}

// Result is one call's result. Payload aliases the message.
type Result struct {
	Status  byte
	Logged  uint64 // with StatusLogged
	Payload []byte
}

// AppendResult appends the front of a result, which its payload of the given
// length must follow.
func AppendResult(dst []byte, status byte, logged uint64, payload int) []byte {
	dst = append(dst, status)
	if status&StatusLogged != 0 {
		dst = binary.AppendUvarint(dst, logged)
	}
	return binary.AppendUvarint(dst, uint64(payload))
}

// ParseResults reads the front of results.
func ParseResults(r *Reader) (chunk uint64, first, n int, elapsed time.Duration, err error) {
	chunk = r.Uvarint()
	first = r.Int()
	n = r.Int()
	elapsed = duration(r)
	if r.Err() == nil && n > r.Len() {
		r.fail("more results than bytes")
	}
	return chunk, first, n, elapsed, r.Err()
}

// ParseResult reads one result.
func ParseResult(r *Reader) (Result, error) {
	var x Result
	x.Status = r.Flags(statusFlags)
	if x.Status&StatusLogged != 0 {
		x.Logged = r.Uvarint()
	}
	x.Payload = r.Bytes()
	return x, r.err
}

// Place names a chunk or a call in it.
type Place struct {
	Chunk uint64
	Index int
}

// AppendPlace appends a message of type t about a place.
func AppendPlace(dst []byte, t Type, p Place) []byte {
	dst = append(dst, byte(t))
	dst = binary.AppendUvarint(dst, p.Chunk)
	return AppendInt(dst, p.Index)
}

// ParsePlace reads what follows the type of a message that is about a place and
// says no more.
func ParsePlace(r *Reader) (Place, error) {
	p := Place{Chunk: r.Uvarint(), Index: r.Int()}
	return p, r.End()
}

// Whole is the index that means every call of a chunk.
const Whole = 1<<31 - 1

// Cancel ends one call of a chunk, or with the index Whole all of them.
type Cancel struct {
	Place
	Cause []byte // a Fault
}

// Append appends the message.
func (c *Cancel) Append(dst []byte) []byte {
	return AppendBytes(AppendPlace(dst, TypeCancel, c.Place), c.Cause)
}

// ParseCancel reads what follows the type. The cause aliases the message.
func ParseCancel(r *Reader) (*Cancel, error) {
	c := &Cancel{Place: Place{Chunk: r.Uvarint(), Index: r.Int()}, Cause: r.Bytes()}
	return c, r.End()
}
