package redisq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// pieceSize is that of the pieces in which a blob is kept and moved.
const pieceSize = 512 << 10

// uploadTime is how long a piece of an unfinished blob is kept after the last one.
const uploadTime = time.Hour

// blobs are those of a queue. A blob is a hash of its pieces.
type blobs struct {
	broker *Broker
	queue  string
}

// Blobs implements queue.Broker.
func (b *Broker) Blobs(queueName string) queue.Blobs { return &blobs{broker: b, queue: queueName} }

// Put implements queue.Blobs. Pieces go to a place of their own, which becomes the blob when
// they are known to be right.
func (s *blobs) Put(ctx context.Context, hash string, size int64, r io.Reader, keep time.Duration) error {
	return wrap(s.queue, s.put(ctx, hash, size, r, keep))
}

func (s *blobs) put(ctx context.Context, hash string, size int64, r io.Reader, keep time.Duration) error {
	if err := first(check.Queue(s.queue), check.Blob(hash, keep)); err != nil {
		return err
	}
	if size < 0 {
		return fmt.Errorf("a blob of %d bytes", size)
	}
	c, err := s.broker.begin(ctx, s.queue)
	if err != nil {
		return err
	}
	defer c.end()
	name := rand.Text()
	pieces, err := c.upload(name, check.Reader(r, hash, size))
	if err != nil {
		s.broker.discard(s.broker.key(s.queue) + "up:" + name)
		return err
	}
	there, err := c.ask("publish", hash, name, strconv.FormatInt(millis(keep), 10), strconv.FormatInt(size, 10), strconv.Itoa(pieces))
	if err == nil && !there {
		err = fmt.Errorf("blob %s: the server lost a part of it", hash)
	}
	return err
}

// upload writes pieces, and returns how many there are.
func (c *call) upload(name string, r io.Reader) (int, error) {
	key := c.broker.key(c.queue) + "up:" + name
	piece := make([]byte, pieceSize)
	for n := 0; ; n++ {
		size, err := io.ReadFull(r, piece)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return n, err
		}
		last := err != nil
		if size > 0 || n == 0 {
			// A copy, since a request that is given up may be written still.
			if err := c.uploadPiece(key, n, string(piece[:size])); err != nil {
				return n, err
			}
		} else {
			return n, nil
		}
		if last {
			return n + 1, nil
		}
	}
}

func (c *call) uploadPiece(key string, n int, piece string) error {
	_, err := c.do(func(b rueidis.Builder) rueidis.Completed {
		return b.Hset().Key(key).FieldValue().FieldValue(strconv.Itoa(n), piece).Build()
	})
	if err != nil {
		return err
	}
	_, err = c.do(func(b rueidis.Builder) rueidis.Completed {
		return b.Pexpire().Key(key).Milliseconds(uploadTime.Milliseconds()).Build()
	})
	return err
}

// discard removes what is left of a blob that was refused. If that fails it expires.
func (b *Broker) discard(key string) {
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	_ = b.client.Do(ctx, b.client.B().Unlink().Key(key).Build()).Error()
}

// ask calls the script of blobs.
func (c *call) ask(args ...string) (bool, error) {
	answer, err := c.run(blobScript, append(arguments(len(args)), args...))
	if err != nil {
		return false, err
	}
	text, err := answer.ToString()
	return text == "1", err
}

// Keep implements queue.Blobs.
func (s *blobs) Keep(ctx context.Context, hash string, d time.Duration) (bool, error) {
	there, err := s.keep(ctx, hash, d)
	return there, wrap(s.queue, err)
}

func (s *blobs) keep(ctx context.Context, hash string, d time.Duration) (bool, error) {
	if err := first(check.Queue(s.queue), check.Blob(hash, d)); err != nil {
		return false, err
	}
	c, err := s.broker.begin(ctx, s.queue)
	if err != nil {
		return false, err
	}
	defer c.end()
	return c.ask("keep", hash, strconv.FormatInt(millis(d), 10))
}

// Get implements queue.Blobs. The reader has one piece at a time in memory.
func (s *blobs) Get(ctx context.Context, hash string) (io.ReadCloser, error) {
	r, err := s.get(ctx, hash)
	if err != nil {
		return nil, wrap(s.queue, err)
	}
	return r, nil
}

func (s *blobs) get(ctx context.Context, hash string) (io.ReadCloser, error) {
	if err := first(check.Queue(s.queue), check.Blob(hash, 0)); err != nil {
		return nil, err
	}
	p := &pieces{ctx: ctx, broker: s.broker, queue: s.queue, hash: hash}
	text, err := p.field("size")
	if err != nil {
		return nil, err
	}
	size, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: its size is %.80q", queue.ErrDamaged, hash, text)
	}
	p.left = size
	return &blobReader{Reader: check.Reader(p, hash, size), pieces: p}, nil
}

// blobReader is a blob that is read.
type blobReader struct {
	io.Reader
	pieces *pieces
}

// Read implements io.Reader. Its errors name the queue.
func (r *blobReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = wrap(r.pieces.queue, err)
	}
	return n, err
}

// Close implements io.Closer.
func (r *blobReader) Close() error {
	r.pieces.closed = true
	r.pieces.piece = ""
	return nil
}

// pieces reads a blob piece by piece.
type pieces struct {
	ctx    context.Context
	broker *Broker
	queue  string
	hash   string
	next   int
	piece  string
	left   int64
	closed bool
}

// Read implements io.Reader.
func (p *pieces) Read(b []byte) (int, error) {
	if p.closed {
		return 0, queue.ErrClosed
	}
	if p.piece == "" {
		if p.left <= 0 {
			return 0, io.EOF
		}
		piece, err := p.field(strconv.Itoa(p.next))
		if errors.Is(err, queue.ErrNoBlob) {
			if _, gone := p.field("size"); gone == nil {
				return 0, fmt.Errorf("%w: %s: piece %d is missing", queue.ErrDamaged, p.hash, p.next)
			}
		}
		if err != nil {
			return 0, err
		}
		if p.piece = piece; piece == "" {
			return 0, fmt.Errorf("%w: %s: piece %d is empty", queue.ErrDamaged, p.hash, p.next)
		}
		p.next++
	}
	n := copy(b, p.piece)
	p.piece = p.piece[n:]
	p.left -= int64(n)
	return n, nil
}

// field reads a field of the blob. One that is not there means that the blob has gone.
func (p *pieces) field(name string) (string, error) {
	c, err := p.broker.begin(p.ctx, p.queue)
	if err != nil {
		return "", err
	}
	defer c.end()
	answer, err := c.do(func(b rueidis.Builder) rueidis.Completed {
		return b.Hget().Key(p.broker.key(p.queue) + "x:" + p.hash).Field(name).Build()
	})
	if err != nil {
		return "", err
	}
	if answer.IsNil() {
		return "", fmt.Errorf("%w: %s", queue.ErrNoBlob, p.hash)
	}
	return answer.ToString()
}
