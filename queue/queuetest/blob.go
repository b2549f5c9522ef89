package queuetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing/iotest"
	"time"

	"github.com/afar-go/afar/queue"
)

var blobStories = []story{
	{"BlobIsWhatWasPut", blobWhole},
	{"BlobOfSeveralMiB", blobLarge},
	{"BlobThatIsNotThere", blobMissing},
	{"BlobThatIsDamagedIsRefused", blobRefused},
	{"BlobThatCannotBeReadIsRefused", blobUnreadable},
	{"BlobThatWasDamagedGivesAnError", blobDamaged},
	{"BlobIsPutByManyAtOnce", blobTogether},
	{"BlobOfAnotherQueueIsNotThere", blobElsewhere},
	{"BlobIsForgottenAfterItsKeep", blobForgotten},
	{"BlobIsKeptByAnotherPut", blobKeptByPut},
	{"BlobIsKeptByKeep", blobKeptByKeep},
	{"BlobIsKeptByATask", blobKeptByTask},
	{"BlobIsKeptForItsKeepAfterATask", blobKeptAfterTask},
	{"BlobIsKeptByADeadTask", blobKeptByDead},
	{"BlobIsKeptByAnOutcome", blobKeptByOutcome},
}

// hashOf is the name of a blob.
func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// noise returns bytes that do not compress.
func noise(n int) []byte {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(data)
	return data
}

// put stores a blob, by the first client.
func (s *stage) put(data []byte, keep time.Duration) string {
	s.Helper()
	hash := hashOf(data)
	s.must(s.a.Blobs(s.queue).Put(s.ctx, hash, int64(len(data)), bytes.NewReader(data), keep))
	return hash
}

// get reads a blob, by the second client.
func (s *stage) get(hash string) ([]byte, error) {
	r, err := s.b.Blobs(s.queue).Get(s.ctx, hash)
	if err != nil {
		return nil, err
	}
	defer func() { s.must(r.Close()) }()
	return io.ReadAll(r)
}

// has tells whether a blob is there, and changes nothing.
func (s *stage) has(hash string) bool {
	s.Helper()
	there, err := s.b.Blobs(s.queue).Keep(s.ctx, hash, 0)
	s.must(err)
	return there
}

// awaitGone waits until a blob is there no more.
func (s *stage) awaitGone(hash string) {
	s.Helper()
	s.await("the blob is forgotten", func() bool { return !s.has(hash) })
	if _, err := s.get(hash); !errors.Is(err, queue.ErrNoBlob) {
		s.Errorf("Get of a blob that is forgotten gives %v", err)
	}
}

// outlive waits until a blob that is kept briefly from now on is gone.
func (s *stage) outlive() {
	s.Helper()
	s.awaitGone(s.put(noise(33), brief))
}

func blobWhole(s *stage) {
	for _, n := range []int{0, 1, 1000, 300 << 10} {
		data := noise(n)
		hash := s.put(data, long)
		got, err := s.get(hash)
		s.must(err)
		if !bytes.Equal(got, data) {
			s.Errorf("a blob of %d bytes comes back as one of %d bytes", n, len(got))
		}
		if !s.has(hash) {
			s.Errorf("a blob of %d bytes is not there", n)
		}
	}
}

func blobLarge(s *stage) {
	data := noise(5<<20 + 17)
	hash := hashOf(data)
	// A reader that gives little at a time is as good as any.
	r := iotest.HalfReader(bytes.NewReader(data))
	s.must(s.a.Blobs(s.queue).Put(s.ctx, hash, int64(len(data)), r, long))
	for range 2 {
		got, err := s.get(hash)
		s.must(err)
		if !bytes.Equal(got, data) {
			s.Fatal("a large blob comes back changed")
		}
	}
}

func blobMissing(s *stage) {
	hash := hashOf([]byte("nowhere"))
	_, err := s.get(hash)
	if !errors.Is(err, queue.ErrNoBlob) {
		s.Errorf("Get of what is not there gives %v", err)
	}
	s.namesQueue(err)
	there, err := s.a.Blobs(s.queue).Keep(s.ctx, hash, long)
	s.must(err)
	if there {
		s.Error("Keep says that it is there")
	}
}

func blobRefused(s *stage) {
	for _, n := range []int{1000, 3 << 20} {
		data := noise(n)
		hash := hashOf(data)
		other := bytes.Clone(data)
		other[n/2]++
		for what, c := range map[string]struct {
			data []byte
			size int
		}{
			"other bytes":                  {other, n},
			"too few bytes":                {data[:n-1], n},
			"too many bytes":               {append(bytes.Clone(data), 0), n},
			"fewer bytes than it has":      {data, n - 1},
			"none of the bytes":            {nil, 0},
			"more bytes than it could be":  {data, n + 1},
			"another beginning of as many": {append([]byte{1}, data[:n-1]...), n},
		} {
			err := s.a.Blobs(s.queue).Put(s.ctx, hash, int64(c.size), bytes.NewReader(c.data), long)
			if !errors.Is(err, queue.ErrDamaged) {
				s.Errorf("Put of %s gives %v", what, err)
			}
			s.namesQueue(err)
			if s.has(hash) {
				s.Errorf("%s were kept", what)
			}
		}
		if _, err := s.get(hash); !errors.Is(err, queue.ErrNoBlob) {
			s.Errorf("Get of what was refused gives %v", err)
		}
		s.put(data, long)
		if err := s.a.Blobs(s.queue).Put(s.ctx, hash, int64(n), bytes.NewReader(other), long); !errors.Is(err, queue.ErrDamaged) {
			s.Errorf("Put of other bytes over those that are there gives %v", err)
		}
		if got, err := s.get(hash); err != nil || !bytes.Equal(got, data) {
			s.Errorf("a Put that was refused changed what was there: %v", err)
		}
	}
}

func blobUnreadable(s *stage) {
	broken := errors.New("the disk is gone")
	data := noise(2 << 20)
	r := io.MultiReader(bytes.NewReader(data[:1<<20]), iotest.ErrReader(broken))
	if err := s.a.Blobs(s.queue).Put(s.ctx, hashOf(data), int64(len(data)), r, long); !errors.Is(err, broken) {
		s.Errorf("Put of what cannot be read gives %v", err)
	}
	if s.has(hashOf(data)) {
		s.Error("it was kept")
	}
}

func blobDamaged(s *stage) {
	if s.DamageBlob == nil {
		s.Skip("the backend has no DamageBlob")
	}
	for _, n := range []int{1000, 3 << 20} {
		hash := s.put(noise(n), long)
		s.DamageBlob(s.queue, hash)
		if _, err := s.get(hash); !errors.Is(err, queue.ErrDamaged) {
			s.Errorf("a blob of %d bytes that was damaged is read with %v", n, err)
		}
		s.put(noise(n), long)
		if _, err := s.get(hash); err != nil {
			s.Errorf("once it was put again it is read with %v", err)
		}
	}
}

func blobTogether(s *stage) {
	data := noise(1<<20 + 1)
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			blobs := s.Clients[i%2].Blobs(s.queue)
			if err := blobs.Put(s.ctx, hashOf(data), int64(len(data)), bytes.NewReader(data), long); err != nil {
				s.Errorf("Put: %v", err)
			}
			r, err := blobs.Get(s.ctx, hashOf(data))
			if err != nil {
				s.Errorf("Get: %v", err)
				return
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
				s.Errorf("a blob that many put is read as %d bytes, %v", len(got), err)
			}
			_ = r.Close()
		})
	}
	wait.Wait()
}

func blobElsewhere(s *stage) {
	hash := s.put([]byte("here"), long)
	s.queue = queueName("Elsewhere")
	if s.has(hash) {
		s.Error("a blob of one queue is in another")
	}
}

func blobForgotten(s *stage) { s.awaitGone(s.put(noise(1000), brief)) }

func blobKeptByPut(s *stage) {
	hash := s.put(noise(1000), brief)
	s.put(noise(1000), long)
	s.put(noise(1000), brief) // takes nothing back
	s.outlive()
	if !s.has(hash) {
		s.Error("a blob that was to be kept is not there")
	}
}

func blobKeptByKeep(s *stage) {
	hash := s.put(noise(1000), 8*brief)
	there, err := s.b.Blobs(s.queue).Keep(s.ctx, hash, long)
	s.must(err)
	if !there {
		s.Skip("the machine is too busy: it was forgotten before it was to be kept")
	}
	s.awaitGone(s.put(noise(2000), 8*brief))
	if !s.has(hash) {
		s.Error("a blob that was to be kept is not there")
	}
}

func blobKeptByTask(s *stage) {
	for _, e := range []queue.Ending{queue.EndDone, queue.EndFailed, queue.EndCanceled} {
		data := noise(1000 + int(e))
		t := task(hashOf(data)[:8])
		t.Blobs, t.Retention = []string{hashOf(data)}, 0
		s.submit(t) // a task may come before what it needs
		hash := s.put(data, brief)
		s.outlive()
		if !s.has(hash) {
			s.Fatal("what a task that waits needs is not there")
		}
		d := s.takeOne(t.ID)
		s.finish(queue.EndRetry, d)
		d = s.takeOne(t.ID)
		s.outlive()
		if _, err := s.get(hash); err != nil {
			s.Fatalf("what a task that runs needs is read with %v", err)
		}
		s.finish(e, d)
		s.awaitGone(hash)
	}
}

func blobKeptAfterTask(s *stage) {
	data := noise(700)
	t := task("t")
	t.Blobs, t.Retention = []string{hashOf(data)}, 0
	s.submit(t)
	hash := s.put(data, 8*brief)
	d := s.takeOne("t")
	s.awaitGone(s.put(noise(701), 8*brief)) // so that Put keeps it no more
	s.finish(queue.EndDone, d)
	if !s.has(hash) {
		s.Error("a blob is not there any more as soon as a task needs it no more")
	}
	s.awaitGone(hash)
}

func blobKeptByDead(s *stage) {
	data := noise(500)
	t := task("t")
	t.Blobs, t.Retention = []string{hashOf(data)}, 0
	hash := s.put(data, brief)
	s.submit(t)
	if s.put(data, brief); !s.has(hash) {
		s.Fatal("what a task needs is not there")
	}
	s.finish(queue.EndDead, s.takeOne("t"))
	s.outlive()
	if !s.has(hash) {
		s.Fatal("what a dead task needs is not there")
	}
	s.change(1, queue.Change{Verb: queue.Requeue})
	s.outlive()
	if !s.has(hash) {
		s.Fatal("what a task that was requeued needs is not there")
	}
	s.finish(queue.EndDead, s.takeOne("t"))
	s.change(1, queue.Change{Verb: queue.Drop})
	s.awaitGone(hash)
}

func blobKeptByOutcome(s *stage) {
	s.submit(task("t"))
	kept, other := noise(600), noise(601)
	hash, gone := s.put(kept, 8*brief), s.put(other, 8*brief)
	end := ending(s.takeOne("t"), queue.EndDone)
	end.Blobs = []string{hash}
	s.settle(queue.Held, end)
	s.awaitGone(gone)
	if !s.has(hash) {
		s.Error("what an outcome needs is not there")
	}
}
