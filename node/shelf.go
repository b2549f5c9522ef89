package node

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/afar-go/afar/internal/agent"
)

// shelf knows who has brought which image. One caller may take half of the room for
// images: those that were used lately are not removed, so whoever took all of it would
// keep everybody else out.
type shelf struct {
	images *agent.Images

	mu      sync.Mutex
	brought map[string]string // callers by hashes, of images that are there
}

// put keeps an image that a caller brings. Several at a time may go beyond the caller's
// part, by less than the other half.
func (s *shelf) put(ctx context.Context, caller, hash string, size int64, r io.Reader) error {
	part := s.images.Limit() / 2
	left := part - s.taken(caller)
	if left < size {
		return fmt.Errorf("this caller's images have %d bytes already; %d are the most, half of the node's room for images", part-left, part)
	}
	err := s.images.PutWithin(ctx, hash, size, r, left)
	if err == nil {
		s.mu.Lock()
		s.brought[hash] = caller
		s.mu.Unlock()
	}
	return err
}

// taken is how many bytes the images have that a caller has brought. It forgets those that
// were removed.
func (s *shelf) taken(caller string) (total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash, who := range s.brought {
		size := s.images.Size(hash)
		if size == 0 {
			delete(s.brought, hash)
		} else if who == caller {
			total += size
		}
	}
	return total
}
