package channel

import (
	"context"
	"io"
)

// chunk is how many bytes a Writer sends in one item, if an item may have so many.
const chunk = 64 << 10

// Reader reads the bytes of items. It may be used by one goroutine at a time.
type Reader struct {
	recv func(context.Context) ([]byte, error)
	use  func(context.Context, func([]byte) error) error
	rest []byte
}

// NewReader returns a Reader of what recv returns. use gives an item to a
// function without a copy.
func NewReader(recv func(context.Context) ([]byte, error), use func(context.Context, func([]byte) error) error) *Reader {
	return &Reader{recv: recv, use: use}
}

// Read reads what has arrived, at most one item.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		item, err := r.recv(context.Background())
		if err != nil {
			return 0, err
		}
		r.rest = item
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo writes all that is received to w, until no more comes, without a copy
// of its own. What w does not take of an item is left for the next Read.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	write := func(b []byte) error {
		n, err := w.Write(b)
		total += int64(n)
		if err == nil && n < len(b) {
			err = io.ErrShortWrite
		}
		if err != nil {
			r.rest = append([]byte(nil), b[n:]...)
		}
		return err
	}
	if rest := r.rest; len(rest) > 0 {
		r.rest = nil
		if err := write(rest); err != nil {
			return total, err
		}
	}
	for {
		if err := r.use(context.Background(), write); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}

// Writer sends bytes as items. It may be used by one goroutine at a time.
type Writer struct {
	send  func(context.Context, []byte) error
	close func() error
	most  int // bytes of an item
}

// NewWriter returns a Writer to send, which takes so many bytes in an item, or any
// number if limit is 0; its Close is close.
func NewWriter(limit int64, send func(context.Context, []byte) error, close func() error) *Writer {
	w := &Writer{send: send, close: close, most: chunk}
	if limit > 0 && limit < chunk {
		w.most = int(limit)
	}
	return w
}

// Write sends p, in items of at most 64 KiB, or of what an item may have if that is
// less.
func (w *Writer) Write(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		n := min(w.most, len(p)-sent)
		if err := w.send(context.Background(), p[sent:sent+n]); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// ReadFrom sends all that r has, in items as Write does.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	buf := make([]byte, w.most)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := w.send(context.Background(), buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}

// Close says that no more will be sent.
func (w *Writer) Close() error { return w.close() }
