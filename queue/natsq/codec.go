package natsq

import (
	"encoding/binary"
	"errors"
	"time"
)

// errShort means that bytes are not what they should be. Peers and files are not
// trusted to be well-formed.
var errShort = errors.New("damaged or cut short")

// codec writes values to bytes or reads them from bytes, so that one description of a
// message serves both ways. After an error it reads zeros. What it reads are
// parts of its bytes, not copies.
type codec struct {
	bytes   []byte // written so far, or all there is to read
	at      int    // how far it has been read
	reading bool
	err     error

	// record is the sequence number of the record that the bytes are, 0 if they are none.
	record uint64
	// first is what marks in the record are counted from.
	first uint64
	// load gets data that is elsewhere.
	load func(*place) ([]byte, error)
}

// number is any of the integers that messages have.
type number interface {
	~int | ~int8 | ~int64 | ~uint8 | ~uint64
}

// integer is an integer of any kind; small ones are short.
func integer[T number](c *codec, v *T) {
	if !c.reading {
		c.bytes = binary.AppendVarint(c.bytes, int64(*v))
		return
	}
	x, n := binary.Varint(c.bytes[c.at:])
	if n <= 0 {
		c.fail(errShort)
		x, n = 0, 0
	}
	*v, c.at = T(x), c.at+n
}

// list is a number of things. An empty one is read as nil. It grows while it is read, since the
// number may be anything.
func list[T any](c *codec, v *[]T, each func(*codec, *T)) {
	n := len(*v)
	integer(c, &n)
	if !c.reading {
		for i := range *v {
			each(c, &(*v)[i])
		}
		return
	}
	*v = nil
	if n < 0 || n > len(c.bytes)-c.at { // each takes a byte at least
		c.fail(errShort)
		return
	}
	for range n {
		var t T
		if each(c, &t); c.err != nil {
			return
		}
		*v = append(*v, t)
	}
}

// optional is something that may be missing.
func optional[T any](c *codec, v **T, code func(*codec, *T)) {
	there := *v != nil
	c.bool(&there)
	if !there {
		return
	}
	if c.reading {
		*v = new(T)
	}
	code(c, *v)
}

func (c *codec) bool(v *bool) {
	b := uint8(0)
	if *v {
		b = 1
	}
	integer(c, &b)
	*v = b != 0
}

func (c *codec) blob(v *[]byte) {
	n := len(*v)
	integer(c, &n)
	if !c.reading {
		c.bytes = append(c.bytes, *v...)
		return
	}
	*v = nil
	if n < 0 || n > len(c.bytes)-c.at {
		c.fail(errShort)
		return
	}
	if n > 0 {
		*v = c.bytes[c.at : c.at+n : c.at+n]
		c.at += n
	}
}

func (c *codec) text(v *string) {
	if !c.reading {
		n := len(*v)
		integer(c, &n)
		c.bytes = append(c.bytes, *v...)
		return
	}
	var b []byte
	c.blob(&b)
	*v = string(b)
}

// mark is the number of an event, near those of others in the record.
func (c *codec) mark(v *uint64) {
	n := *v - c.first
	integer(c, &n)
	*v = n + c.first
}

func (c *codec) texts(v *[]string) { list(c, v, (*codec).text) }
func (c *codec) blobs(v *[][]byte) { list(c, v, (*codec).blob) }

func (c *codec) moment(v *time.Time) {
	n := int64(0)
	if !v.IsZero() {
		n = v.UnixNano()
	}
	integer(c, &n)
	if c.reading {
		*v = at(n)
	}
}

// fail ends what is being read.
func (c *codec) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.bytes, c.at = nil, 0
}

// end is the error of what was read, also when something is left.
func (c *codec) end() error {
	if c.err == nil && c.at < len(c.bytes) {
		return errShort
	}
	return c.err
}

// at returns the time of a queue's clock; 0 is the zero time.
func at(clock int64) time.Time {
	if clock == 0 {
		return time.Time{}
	}
	return time.Unix(0, clock)
}
