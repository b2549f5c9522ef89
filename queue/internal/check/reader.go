package check

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/afar-go/afar/queue"
)

// Reader returns a reader of the size bytes of r whose hash is known. In place of
// io.EOF it gives an ErrDamaged when they are more, fewer or others. A negative size
// stands for as many as there are.
func Reader(r io.Reader, hexHash string, size int64) io.Reader {
	return &reader{r: r, want: hexHash, left: size, counts: size >= 0, sum: sha256.New()}
}

type reader struct {
	r      io.Reader
	want   string
	left   int64 // of those that are expected, if it counts
	counts bool
	sum    hash.Hash
	err    error // once it has ended
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	n, err := r.r.Read(p)
	r.sum.Write(p[:n])
	r.left -= int64(n)
	switch {
	case r.counts && r.left < 0:
		r.err = fmt.Errorf("%w: %s: there are more bytes than were said", queue.ErrDamaged, r.want)
		return 0, r.err
	case err == io.EOF:
		r.err = r.verdict()
		return n, r.err
	}
	return n, err
}

// verdict is what is given at the end.
func (r *reader) verdict() error {
	if r.counts && r.left != 0 {
		return fmt.Errorf("%w: %s: %d bytes are missing", queue.ErrDamaged, r.want, r.left)
	}
	if got := hex.EncodeToString(r.sum.Sum(nil)); got != r.want {
		return fmt.Errorf("%w: %s: its hash is %s", queue.ErrDamaged, r.want, got)
	}
	return io.EOF
}
