package natsq

import "bytes"

// inline is the size up to which data is kept in memory. What is larger stays in the
// record that brought it, and is read from there when it is wanted.
const inline = 1 << 10

// data are bytes of a user. The zero data is none.
type data struct {
	b     []byte
	place *place // instead of b
}

// place is where in a queue's log bytes are.
type place struct {
	record  uint64
	from, n int
}

func (d data) size() int {
	if d.place != nil {
		return d.place.n
	}
	return len(d.b)
}

// data is data in a record. Having been written or read it is kept: as a copy, since the
// bytes are the caller's or pin a whole record, or as its place.
func (c *codec) data(d *data) {
	b := d.b
	if !c.reading && d.place != nil {
		var err error
		if b, err = c.load(d.place); err != nil && c.err == nil {
			c.err = err
		}
	}
	c.blob(&b)
	from := c.at
	if !c.reading {
		from = len(c.bytes)
	}
	if len(b) > inline {
		*d = data{place: &place{c.record, from - len(b), len(b)}}
	} else {
		*d = data{b: bytes.Clone(b)}
	}
}
