package push

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
)

// attempts is how often a file is read that changes while it is.
const attempts = 3

var errChanged = errors.New("it changed while it was read, each time")

// content sends a file, or says that it cannot be had. The error is the link's, or
// ctx's.
func (s *Session) content(ctx context.Context, w *want) (done bool, err error) {
	problem := errChanged
	for range attempts {
		var stable bool
		if stable, problem = s.attempt(ctx, w); stable && problem == nil {
			return true, s.s.err
		}
		if s.s.err != nil || ctx.Err() != nil {
			return false, errors.Join(s.s.err, context.Cause(ctx))
		}
		if problem != nil {
			break
		}
		problem = errChanged
	}
	s.src.problem(w.sent.path, problem)
	s.s.put(answerGone)
	return false, s.s.err
}

// attempt sends a file as it is now. It is not stable when it changed meanwhile.
func (s *Session) attempt(ctx context.Context, w *want) (stable bool, err error) {
	f, before, err := s.find.open(w.sent.path)
	if errors.Is(err, errReplaced) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	s.s.put(answerBegin)
	s.s.putAttr(attrOf(before))
	sender := &sender{Session: s, want: w, hash: sha256.New()}
	n, err := sender.send(contextReader{ctx, io.LimitReader(f, before.Size())})
	if err != nil {
		s.s.put(answerAbandon)
		return false, err
	}
	after, err := f.Stat()
	if err != nil || n != before.Size() || !unchanged(before, after) || s.s.err != nil {
		s.s.put(answerAbandon)
		return false, err
	}
	s.s.put(answerEnd)
	s.s.put(sender.hash.Sum(nil)...)
	s.known.add(w.sent.path, sender.chunks)
	return true, nil
}

func unchanged(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// sender sends the content of one file.
type sender struct {
	*Session
	*want
	hash   hash.Hash
	offset int64
	chunks []chunk // that others may be copied from
	run    struct{ first, count int }
}

func (f *sender) send(r io.Reader) (n int64, err error) {
	r = io.TeeReader(r, counter{f.hash, &n})
	if f.sig == nil {
		return n, f.whole(r)
	}
	m := &matcher{sig: f.sig, from: r, buf: f.buf,
		bytes: func(p []byte) error { f.flushRun(); return f.literal(p) },
		same:  f.block}
	err = m.run()
	f.flushRun()
	if len(m.buf) <= 1<<20 {
		f.buf = m.buf
	}
	return n, err
}

// counter counts what is written to a hash.
type counter struct {
	hash.Hash
	n *int64
}

func (c counter) Write(p []byte) (int, error) {
	*c.n += int64(len(p))
	return c.Hash.Write(p)
}

// whole sends a file without regard to what is there.
func (f *sender) whole(r io.Reader) error {
	if f.buf == nil {
		f.buf = make([]byte, chunkSize)
	}
	for {
		n, err := io.ReadFull(r, f.buf[:chunkSize])
		if n > 0 {
			if err := f.literal(f.buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// block sends the number of a block; those in a row go together.
func (f *sender) block(i int) error {
	if f.run.count > 0 && f.run.first+f.run.count == i {
		f.run.count++
		return f.s.err
	}
	f.flushRun()
	f.run.first, f.run.count = i, 1
	return f.s.err
}

func (f *sender) flushRun() {
	if f.run.count > 0 {
		f.s.put(opBlocks)
		f.s.putUint(uint64(f.run.first))
		f.s.putUint(uint64(f.run.count))
		n := int64(f.run.count) * int64(f.sig.block)
		if f.run.first+f.run.count == len(f.sig.sums) && f.sig.tail > 0 {
			n -= int64(f.sig.block - f.sig.tail)
		}
		f.offset += n
		f.run.count = 0
	}
}

// minShared is from how many bytes on it is worth it to look for a chunk in other
// files.
const minShared = 512

// literal sends bytes, at most chunkSize at a time, unless they are zeros or the
// far side has got them with another file.
func (f *sender) literal(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), chunkSize)
		f.chunk(p[:n])
		f.offset += int64(n)
		p = p[n:]
	}
	return f.s.err
}

func (f *sender) chunk(p []byte) {
	if len(p) >= minShared && zeros(p) {
		f.s.put(opZeros)
		f.s.putUint(uint64(len(p)))
		return
	}
	if len(p) >= minShared && !f.plain {
		sum := sha256.Sum256(p)
		if path, offset, found := f.known.find(sum); found {
			f.s.put(opCopy)
			f.s.putString(path)
			f.s.putUint(uint64(offset))
			f.s.putUint(uint64(len(p)))
			return
		}
		if len(f.chunks) < maxKnown {
			f.chunks = append(f.chunks, chunk{sum, f.offset})
		}
	}
	f.s.put(opBytes)
	f.s.putUint(uint64(len(p)))
	for len(p) > 0 { // in pieces, so that little is held
		n := min(len(p), f.s.size)
		f.s.put(p[:n]...)
		p = p[n:]
	}
}

func zeros(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// maxKnown is how many chunks of what was sent are remembered: the first.
const maxKnown = 1 << 16

// chunk is where in a file bytes of a hash are.
type chunk struct {
	sum    [sha256.Size]byte
	offset int64
}

// known is what one far side has got in files that are complete.
type known struct {
	paths  []string
	chunks map[[sha256.Size]byte]spot
}

type spot struct {
	path   int
	offset int64
}

func (k *known) add(path string, chunks []chunk) {
	if len(chunks) == 0 || len(k.chunks) == maxKnown {
		return
	}
	if k.chunks == nil {
		k.chunks = map[[sha256.Size]byte]spot{}
	}
	k.paths = append(k.paths, path)
	for _, c := range chunks {
		if _, found := k.chunks[c.sum]; !found && len(k.chunks) < maxKnown {
			k.chunks[c.sum] = spot{len(k.paths) - 1, c.offset}
		}
	}
}

func (k *known) find(sum [sha256.Size]byte) (path string, offset int64, found bool) {
	at, found := k.chunks[sum]
	if !found {
		return "", 0, false
	}
	return k.paths[at.path], at.offset, true
}
