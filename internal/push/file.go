package push

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
)

// file compares a file with what is there, and asks for its content when that may
// be different.
func (t *target) file(index int, e *entry, old fs.FileInfo) error {
	regular := old != nil && old.Mode().IsRegular()
	same := regular && old.Size() == e.size
	switch {
	case !same:
	case t.o.Checksum:
		var err error
		if same, err = t.sameSum(e); err != nil {
			return err
		}
	default:
		same = old.ModTime().Equal(e.time)
	}
	if same {
		if e.attr.same(old) {
			return nil
		}
		t.changed(index)
		if t.o.DryRun {
			return nil
		}
		if err := t.dir.root.Chtimes(e.name, e.time, e.time); err != nil {
			return err
		}
		return t.dir.root.Chmod(e.name, old.Mode()&^fs.ModePerm|e.perm)
	}
	n := &need{dir: t.dir, name: e.name, index: index}
	if regular && !t.o.DryRun && min(old.Size(), e.size) >= minDelta {
		count := blockCount(old.Size(), blockSize(old.Size()))
		if t.blocks > 0 && t.blocks+count > maxTurn {
			if err := t.turn(); err != nil {
				return err
			}
		}
		if count <= maxBlocks {
			t.blocks += count
			return t.askDelta(n)
		}
	}
	return t.ask(n, replyWhole)
}

func (t *target) ask(n *need, kind byte) error {
	t.s.put(kind)
	t.s.putUint(uint64(n.index))
	if !t.o.DryRun {
		t.pending = append(t.pending, n)
		n.dir.pending++
	}
	return t.s.err
}

// askDelta asks for a file with the signature of the one that is there.
func (t *target) askDelta(n *need) error {
	f, fi, err := openFile(n.dir.root, n.name)
	if err != nil {
		return t.ask(n, replyWhole)
	}
	defer func() { _ = f.Close() }()
	n.old = fi
	if err := t.ask(n, replyDelta); err != nil {
		return err
	}
	t.s.putUint(uint64(fi.Size()))
	block := blockSize(fi.Size())
	buf := t.buf
	if block > len(buf) {
		buf = make([]byte, block)
	}
	left := fi.Size()
	for left > 0 {
		p := buf[:min(left, int64(block))]
		if _, err := io.ReadFull(contextReader{t.ctx, f}, p); err != nil {
			if t.ctx.Err() != nil {
				return err
			}
			clear(p) // it matches what it does not have; the hash of the whole will tell
		}
		sum := strongSum(p)
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], weakSum(p))
		t.s.put(b[:]...)
		t.s.put(sum[:]...)
		left -= int64(len(p))
	}
	return t.s.err
}

// turn awaits what was asked for, and finishes the directories that waited for
// it.
func (t *target) turn() error {
	for again := false; len(t.pending) > 0; again = true {
		t.s.put(replyTurn)
		if err := t.s.flush(); err != nil {
			return err
		}
		var damaged []*need
		for _, n := range t.pending {
			ok, err := t.answer(n)
			if err == nil && !ok && again {
				err = errors.New("it did not arrive as it was sent, twice")
			}
			if err != nil {
				return named(join(n.dir.path, n.name), err)
			}
			if n.dir.pending--; !ok {
				damaged = append(damaged, n)
			}
		}
		t.pending, t.blocks = t.pending[:0], 0
		for _, n := range damaged {
			n.old = nil
			if err := t.ask(n, replyPlain); err != nil {
				return err
			}
		}
	}
	for len(t.deferred) > 0 {
		d := t.deferred[0]
		t.deferred = t.deferred[1:]
		err := t.finish(d)
		d.close()
		if err != nil {
			return named(d.path, err)
		}
	}
	return nil
}

// answer takes a file's content. It is not ok when that did not come to what it
// is.
func (t *target) answer(n *need) (ok bool, err error) {
	for {
		switch kind := t.s.kind(); {
		case t.s.err != nil:
			return false, t.s.err
		case kind == answerGone:
			return true, nil
		case kind != answerBegin:
			return false, violation("unknown answer %q", kind)
		}
		a := t.s.attr()
		if t.s.err != nil {
			return false, t.s.err
		}
		f, err := t.create(n, a)
		if err != nil {
			return false, err
		}
		ok, whole, err := f.take()
		f.release(ok && whole && err == nil)
		if err != nil || whole {
			if err == nil && ok {
				err = place(n.dir.root, f.temp, n.name)
			}
			return ok, err
		}
	}
}

// incoming is a file under its temporary name.
type incoming struct {
	*target
	need *need
	attr attr
	temp string
	f    *os.File
	old  *os.File // open when it was needed
	hash hash.Hash
	at   int64 // how much there is of it
	bad  bool  // what should be there is not
}

func (t *target) create(n *need, a attr) (*incoming, error) {
	temp := t.id.tempName()
	f, err := n.dir.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &incoming{target: t, need: n, attr: a, temp: temp, f: f, hash: sha256.New()}, nil
}

// release closes the file, and removes it unless it is kept.
func (f *incoming) release(keep bool) {
	if f.old != nil {
		_ = f.old.Close()
	}
	_ = f.f.Close() // done has closed what is kept
	if !keep {
		_ = f.need.dir.root.Remove(f.temp)
	}
}

// take takes the operations that a file consists of. It is whole unless the near
// side has abandoned it.
func (f *incoming) take() (ok, whole bool, err error) {
	for {
		if f.ctx.Err() != nil {
			return false, false, context.Cause(f.ctx)
		}
		switch kind := f.s.kind(); kind {
		case opBytes:
			err = f.bytes()
		case opZeros:
			err = f.zeros()
		case opBlocks:
			err = f.blocks()
		case opCopy:
			err = f.copy()
		case answerAbandon:
			return false, false, nil
		case answerEnd:
			ok, err = f.done()
			return ok, true, err
		default:
			f.s.fail(violation("unknown operation %q", kind))
		}
		if err = errors.Join(f.s.err, err); err != nil {
			return false, false, err
		}
	}
}

// count reads how many bytes follow, of which the file must not have more than it
// is to have.
func (f *incoming) count() int {
	n := int64(f.s.uint(chunkSize))
	if f.s.err == nil && n > f.attr.size-f.at {
		f.s.fail(violation("the file is longer than %d bytes", f.attr.size))
	}
	if f.s.err != nil {
		return 0
	}
	return int(n)
}

func (f *incoming) write(p []byte) error {
	f.hash.Write(p)
	f.at += int64(len(p))
	_, err := f.f.Write(p)
	return err
}

func (f *incoming) bytes() error {
	p := f.buf[:f.count()]
	f.s.full(p)
	if f.s.err != nil {
		return f.s.err
	}
	return f.write(p)
}

// zeros leaves a hole in the file.
func (f *incoming) zeros() error {
	p := f.buf[:f.count()]
	clear(p)
	f.hash.Write(p)
	f.at += int64(len(p))
	_, err := f.f.Seek(f.at, io.SeekStart)
	return err
}

// blocks takes blocks from the file that is replaced.
func (f *incoming) blocks() error {
	first, count := int64(f.s.uint(maxBlocks)), int64(f.s.uint(maxBlocks))
	if f.s.err == nil && f.need.old == nil {
		f.s.fail(violation("blocks of a file that was not offered"))
	}
	if f.s.err != nil {
		return f.s.err
	}
	if f.old == nil {
		old, fi, err := openFile(f.need.dir.root, f.need.name)
		if err != nil {
			f.bad = true
			return nil
		}
		f.old = old
		f.bad = !os.SameFile(fi, f.need.old)
	}
	size := f.need.old.Size()
	block := int64(blockSize(size))
	if first+count > blockCount(size, int(block)) {
		return violation("blocks %d to %d of %d", first, first+count, blockCount(size, int(block)))
	}
	from := first * block
	return f.from(f.old, from, min(count*block, size-from))
}

// copy takes a part of another file that was pushed.
func (f *incoming) copy() error {
	path, offset, n := f.s.string(maxPath), f.s.length(), f.count()
	if f.s.err != nil {
		return f.s.err
	}
	other, _, err := f.find.open(path)
	if err != nil {
		f.bad = true
		if errors.Is(err, errProtocol) {
			return err
		}
		return nil
	}
	defer func() { _ = other.Close() }()
	return f.from(other, offset, int64(n))
}

// from writes what another file has at offset. When it has less, that shows at the
// end.
func (f *incoming) from(other *os.File, offset, n int64) error {
	if n > f.attr.size-f.at {
		return violation("the file is longer than %d bytes", f.attr.size)
	}
	for n > 0 {
		if f.ctx.Err() != nil {
			return context.Cause(f.ctx)
		}
		p := f.buf[:min(n, int64(len(f.buf)))]
		got, err := other.ReadAt(p, offset)
		if err != nil && got < len(p) {
			f.bad = true
			return nil
		}
		if err := f.write(p); err != nil {
			return err
		}
		offset += int64(len(p))
		n -= int64(len(p))
	}
	return nil
}

// done tells whether the file is what was sent, and if so makes it ready for its
// name.
func (f *incoming) done() (ok bool, err error) {
	var sum [sha256.Size]byte
	f.s.full(sum[:])
	if f.s.err != nil {
		return false, f.s.err
	}
	if f.bad || f.at != f.attr.size || sum != [sha256.Size]byte(f.hash.Sum(nil)) {
		return false, nil
	}
	if err := f.f.Truncate(f.at); err != nil { // it may end with a hole
		return false, err
	}
	if err := f.f.Chmod(f.attr.perm); err != nil {
		return false, err
	}
	if err := f.f.Close(); err != nil {
		return false, err
	}
	return true, f.need.dir.root.Chtimes(f.temp, f.attr.time, f.attr.time)
}
