package natsq

// blob is what a ledger knows of bytes in the queue's blob store.
type blob struct {
	hash   string
	upload string // under which name its parts are; "": it is not there
	size   int64
	parts  int
	keep   int64 // for how long after nobody needs it
	until  int64 // kept until then in any case
	refs   int   // who needs it
}

func codeBlob(c *codec, b *blob) {
	c.text(&b.hash)
	c.text(&b.upload)
	integer(c, &b.size)
	integer(c, &b.parts)
	integer(c, &b.keep)
	integer(c, &b.until)
}

// blobPut says that all parts of a blob are there.
type blobPut struct{ blob blob }

func (f *blobPut) code(c *codec) { codeBlob(c, &f.blob) }

func (f *blobPut) apply(l *ledger) {
	b := f.blob
	if was := l.blobs[b.hash]; was != nil {
		b.refs, b.until, b.keep = was.refs, max(b.until, was.until), max(b.keep, was.keep)
	}
	l.blobs[b.hash] = &b
}

// blobKept says that a blob is kept for longer.
type blobKept struct {
	hash  string
	keep  int64
	until int64
}

func (f *blobKept) code(c *codec) {
	c.text(&f.hash)
	integer(c, &f.keep)
	integer(c, &f.until)
}

func (f *blobKept) apply(l *ledger) {
	if b := l.blobs[f.hash]; b != nil {
		b.keep, b.until = max(b.keep, f.keep), max(b.until, f.until)
	}
}

// blobGone says that a blob is not kept any more, before its parts are deleted.
type blobGone struct{ hash string }

func (f *blobGone) code(c *codec) { c.text(&f.hash) }

func (f *blobGone) apply(l *ledger) {
	if b := l.blobs[f.hash]; b != nil && b.refs <= 0 {
		delete(l.blobs, f.hash)
	} else if b != nil {
		*b = blob{hash: b.hash, refs: b.refs}
	}
}

// serveBlob does what is asked of the blobs.
func (k *keeper) serveBlob(r *request) error {
	l := k.ledger
	until := k.now() + r.blobFor
	b := l.blobs[r.blob.hash]
	there := b != nil && b.upload != "" && (b.refs > 0 || b.until > k.now()) // though it may not be deleted yet
	switch {
	case r.kind == kindPutBlob:
		put := r.blob
		put.keep, put.until, put.refs = r.blobFor, until, 0
		return k.putBlob(r, put)
	case r.kind == kindKeepBlob && there:
		if err := k.write(tagBlobKept, &blobKept{b.hash, r.blobFor, until}); err != nil {
			return err
		}
		k.answer(r, &answer{count: 1})
	case r.kind == kindFindBlob && there:
		found := *b
		k.answer(r, &answer{blob: &found})
	default:
		k.answer(r, &answer{})
	}
	k.confirm = true
	return nil
}

// putBlob lets a blob be seen. One that was there is replaced, so that what is damaged
// can be mended by putting it again; its parts go with the next sweep, since somebody
// may be reading them.
func (k *keeper) putBlob(r *request, put blob) error {
	if err := k.write(tagBlobPut, &blobPut{put}); err != nil {
		return err
	}
	return k.served(r, result{}, &answer{})
}

// sweepBlobs gives up blobs that are not kept any more, and deletes the parts of those and of
// uploads that came to nothing.
func (k *keeper) sweepBlobs() error {
	now := k.now()
	for hash, b := range k.ledger.blobs {
		if b.upload == "" || b.refs > 0 || b.until > now {
			continue
		}
		if err := k.write(tagBlobGone, &blobGone{hash}); err != nil {
			return err
		}
		if err := k.room(0); err != nil {
			return err
		}
	}
	if err := k.commit(); err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, b := range k.ledger.blobs {
		wanted[b.upload] = true
	}
	k.bg.Go(func() { k.b.sweepParts(k.ctx, k.token, wanted) })
	return nil
}
