package push

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// Session is the near side of a conversation with one Receive. It is used by one
// goroutine at a time.
type Session struct {
	Place Place
	// ID must be another for each push and attempt.
	ID ID
	// Report is called with each Event; it may be nil.
	Report func(Event)

	s     *stream
	o     Options
	src   *Source
	find  finder
	batch []sent
	bytes int // of the batch, about
	wants []want
	held  int64 // blocks in the signatures of wants
	known known
	buf   []byte
}

// sent is an entry of the batch.
type sent struct {
	path  string
	file  bool
	asked byte // how it was asked for last
}

// want is a file that the far side has asked for.
type want struct {
	sent  *sent
	plain bool
	sig   *signature // or nil
}

// Begin begins a conversation. dir is for the far side to open. Nothing there is
// changed before Send. No more than limit bytes are written at a time on either
// side, if limit is positive.
func Begin(c io.ReadWriter, dir string, o Options, limit int64) (*Session, error) {
	s := newStream(c)
	if limit > 0 {
		s.size = int(min(limit, pieceSize))
	}
	s.putUint(uint64(s.size))
	for _, b := range []bool{o.Delete, o.Checksum, o.DryRun} {
		s.putBool(b)
	}
	s.putString(dir)
	_ = s.flush() // the error stays
	place := Place{Host: s.string(maxName), Key: s.string(maxPath)}
	return &Session{Place: place, s: s, o: o}, s.err
}

// Traffic returns how many bytes were sent and received.
func (s *Session) Traffic() (sent, received int64) { return s.s.sent, s.s.received }

// Send pushes the source, whose options must be those of Begin. What of it cannot
// be read is left out; Source.Err names it.
func (s *Session) Send(ctx context.Context, src *Source) error {
	s.src, s.find = src, finder{root: src.root}
	defer func() {
		s.find.close()
		s.batch, s.wants, s.known, s.buf = nil, nil, known{}, nil // the session may be kept
	}()
	if err := src.clash(s.Place); err != nil {
		return err
	}
	fi, err := src.root.Stat(".")
	if err != nil {
		return err
	}
	names, err := list(src.root)
	if err != nil {
		return err
	}
	s.s.put(s.ID[:]...)
	s.s.putAttr(attrOf(fi))
	w := &walker{Source: src, ctx: ctx, to: s.Place, emit: func(e *entry, path string) error { return s.emit(ctx, e, path) }}
	if err := w.dir(src.root, names, "", 0); err != nil {
		return err
	}
	return s.round(ctx, finalEnd)
}

// emit adds an entry to the batch.
func (s *Session) emit(ctx context.Context, e *entry, path string) error {
	s.s.putEntry(e, s.o.Checksum)
	s.batch = append(s.batch, sent{path: path, file: e.kind == entryFile})
	s.bytes += 64 + len(path) + len(e.link)
	if len(s.batch) == batchEntries || s.bytes >= batchBytes {
		return s.round(ctx, batchEnd)
	}
	return s.s.err
}

// round ends a batch and does what the far side asks for because of it.
func (s *Session) round(ctx context.Context, end byte) error {
	s.s.put(end)
	if err := s.s.flush(); err != nil {
		return err
	}
	for {
		switch kind := s.s.kind(); kind {
		case replyWhole, replyDelta, replyPlain:
			s.ask(kind)
		case replyChanged:
			if i := s.s.uint(batchEntries); i < uint64(len(s.batch)) {
				s.report(OpChange, s.batch[i].path, 0)
			}
		case replyDeleted:
			s.report(OpDelete, s.s.string(maxPath), 0)
		case replyTurn:
			if err := s.answer(ctx); err != nil {
				return err
			}
		case replyDone:
			if len(s.wants) > 0 {
				return violation("files were asked for and not awaited")
			}
			s.batch, s.bytes = s.batch[:0], 0
			return nil
		default:
			s.s.fail(violation("unknown reply %q", kind))
		}
		if s.s.err != nil {
			return s.s.err
		}
	}
}

func (s *Session) report(op, path string, bytes int64) {
	if s.Report != nil && s.s.err == nil {
		s.Report(Event{Op: op, Path: path, Bytes: bytes})
	}
}

// ask notes that the far side needs a file.
func (s *Session) ask(kind byte) {
	i := s.s.uint(batchEntries)
	if i >= uint64(len(s.batch)) {
		s.s.fail(violation("entry %d of %d was asked for", i, len(s.batch)))
		return
	}
	at := &s.batch[i]
	// A file is asked for once, and then perhaps once more.
	if !at.file || at.asked == replyPlain || (at.asked != 0) != (kind == replyPlain) {
		s.s.fail(violation("%s was asked for, as %q after %q", at.path, kind, at.asked))
		return
	}
	at.asked = kind
	w := want{sent: at, plain: kind == replyPlain}
	if kind == replyDelta {
		w.sig = s.signature()
	}
	if s.o.DryRun {
		s.report(OpWrite, at.path, 0)
		return
	}
	if s.s.err == nil {
		s.wants = append(s.wants, w)
	}
}

// signature reads the blocks of what the far side has.
func (s *Session) signature() *signature {
	size := s.s.length()
	block := blockSize(size)
	count := blockCount(size, block)
	if s.held+count > maxTurn+maxBlocks || count > maxBlocks {
		s.s.fail(violation("signatures of more than %d blocks", s.held+count))
		return nil
	}
	s.held += count
	sig := newSignature(size, block)
	for range count {
		var b [8 + strongLen]byte
		s.s.full(b[:])
		if s.s.err != nil {
			return nil
		}
		sig.read(b, len(sig.sums) == int(count)-1)
	}
	return sig
}

// answer sends what was asked for.
func (s *Session) answer(ctx context.Context) error {
	if s.o.DryRun {
		return violation("files are awaited in a dry run")
	}
	for i := range s.wants {
		w := s.wants[i]
		s.wants[i].sig = nil // it may be large
		before := s.s.sent + int64(len(s.s.out))
		done, err := s.content(ctx, &w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.sent.path, err)
		}
		if done {
			s.report(OpWrite, w.sent.path, s.s.sent+int64(len(s.s.out))-before)
		}
	}
	s.wants, s.held = slices.Delete(s.wants, 0, len(s.wants)), 0
	return s.s.flush()
}
