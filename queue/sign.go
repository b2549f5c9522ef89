package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/wire"
	"github.com/afar-go/afar/trust"
)

// Signing says how tasks are submitted that generic nodes are to run: nodes that know the
// submitter's key, and nothing of its program.
type Signing struct {
	// Key signs the tasks. It has to be among the nodes' authorized keys.
	Key *trust.Key
	// Systems are those of the nodes, as "linux/arm64". nil: that of this program.
	Systems []string
	// Images are builds of this program for other systems, as afar.Config has them. Without
	// them they are built if the source is there.
	Images map[string]string
}

// Sign returns the same queue for tasks that are signed, and for which this program is
// among the queue's blobs, where it is brought with the first task. The signature
// holds what is to be done, the program, the queue and the task's ID; outcomes are not
// signed. Whoever could read the queue could submit a task again that it has forgotten.
func (q *Queue) Sign(s Signing) *Queue {
	signed := New(q.broker, q.name)
	signed.signer = &signer{Signing: s, queue: signed}
	if s.Key == nil && signed.bad == nil {
		signed.bad = errors.New("queue: Sign without a Key")
	}
	if len(s.Systems) == 0 {
		signed.signer.Systems = []string{runtime.GOOS + "/" + runtime.GOARCH}
	}
	return signed
}

// signer signs what a queue submits.
type signer struct {
	Signing
	queue *Queue

	mu       sync.Mutex
	programs map[string]string // hashes by system, once they are there
	kept     time.Time         // when that was found last
}

// Times of programs among the blobs.
const (
	keepPrograms = 24 * time.Hour
	lookAgain    = time.Hour
)

// sign signs a task's order.
func (s *signer) sign(id string, order []byte) ([]byte, error) {
	signature, err := s.Key.Sign(signContext, signedText(s.queue.name, id, order))
	if err != nil {
		return nil, err
	}
	body := wire.AppendText([]byte{signedVersion}, s.Key.Public().String())
	return wire.AppendBytes(wire.AppendBytes(body, signature), order), nil
}

// signContext is what signatures of tasks are for.
const signContext = "afar task"

// signedText is what is signed.
func signedText(queue, id string, order []byte) []byte {
	text := wire.AppendText(make([]byte, 0, len(order)+len(queue)+len(id)+8), queue)
	return append(wire.AppendText(text, id), order...)
}

// orderIn reads the order in a task's body, whoever has signed it. It is nil if there is none.
func orderIn(body []byte) *order {
	if len(body) > 0 && body[0] == signedVersion {
		r := wire.NewReader(body[1:])
		r.Text()
		r.Bytes()
		body = r.Bytes()
	}
	o, err := parseOrder(body)
	if err != nil {
		return nil
	}
	return o
}

// openBody reads a task's body. It returns who has signed it, zero if nobody has, and refuses
// a signature that is not one.
func openBody(queue, id string, body []byte) (*order, trust.PublicKey, error) {
	var by trust.PublicKey
	if len(body) > 0 && body[0] == signedVersion {
		r := wire.NewReader(body[1:])
		line, signature, signed := r.Text(), r.Bytes(), r.Bytes()
		if err := r.End(); err != nil {
			return nil, by, fmt.Errorf("queue: not a task of afar: %w", err)
		}
		key, _, err := trust.ParsePublicKey(line)
		if err != nil || !key.Verify(signContext, signedText(queue, id, signed), signature) {
			return nil, by, fmt.Errorf("%w: it was altered after %.100s had signed it", ErrUnauthorized, line)
		}
		by, body = key, signed
	}
	o, err := parseOrder(body)
	return o, by, err
}

// bring has the program be among the blobs, and returns its hashes.
func (s *signer) bring(ctx context.Context) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.kept) < lookAgain {
		return s.programs, nil
	}
	programs := map[string]string{}
	source := ship.Running(s.Images)
	for _, system := range s.Systems {
		image, err := source.For(ctx, system)
		if err == nil {
			programs[system] = image.Hash()
			err = s.put(ctx, image)
		}
		if err != nil {
			return nil, fmt.Errorf("the program for %s: %w", system, err)
		}
	}
	s.programs, s.kept = programs, time.Now()
	return programs, nil
}

// put brings an image if it is not there.
func (s *signer) put(ctx context.Context, image *ship.Image) error {
	blobs := s.queue.broker.Blobs(s.queue.name)
	there, err := blobs.Keep(ctx, image.Hash(), keepPrograms)
	if err != nil || there {
		return err
	}
	r, err := image.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	return blobs.Put(ctx, image.Hash(), image.Size(), r, keepPrograms)
}

// hashes are the values of a map, sorted.
func hashes(programs map[string]string) []string {
	return slices.Compact(slices.Sorted(maps.Values(programs)))
}

// Programs runs tasks of other programs: it is what a node is to queues.
type Programs interface {
	// Runner returns where a task is to run, and refuses it with an error that is an
	// ErrReject if nobody ever will.
	Runner(ctx context.Context, t *Foreign) (afar.Runner, error)
}

// Foreign is a task of another program.
type Foreign struct {
	Queue, ID string
	Function  string
	Command   bool              // it is a Command
	Key       trust.PublicKey   // of who has signed it; zero: nobody
	Images    map[string]string // hashes of the program by system
	// Open reads an image of the program. The bytes are those of its hash when Read
	// returns io.EOF.
	Open func(ctx context.Context, hash string) (io.ReadCloser, error)
}
