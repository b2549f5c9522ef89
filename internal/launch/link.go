package launch

import "io"

// Link is one end of an ordered, reliable byte pipe in both directions.
//
// One goroutine may read while others write; writes of several goroutines do not interleave. A Read at the end of
// the other side's bytes gives io.EOF; a write that the other side can no longer read gives an error that Is
// io.ErrClosedPipe. After Close of this end, reads and writes give an error that Is os.ErrClosed or
// io.ErrClosedPipe.
type Link interface {
	io.ReadWriteCloser

	// Writev writes all buffers in order, as one Write of their concatenation would, with one system call where
	// that is possible. It keeps none of the buffers and changes none.
	Writev(bufs ...[]byte) error
}

// advance drops the first n bytes of bufs, and the empty buffers that then lead it. It changes bufs' elements.
func advance(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs[0] = nil
		bufs = bufs[1:]
	}
	if n > 0 {
		bufs[0] = bufs[0][n:]
	}
	return bufs
}
