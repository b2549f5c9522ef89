// Package handle is handles that travel: names of channel ends and objects
// that every process of a tree of callers and workers can turn into a stream to
// what they name.
//
// A home is a place where such things live: a program that opens pools is one,
// at the root of its tree, and each worker is one, below its caller. A handle
// names the homes on the way from the root. So a worker that has a handle asks
// its caller, who knows the way, and passes on what the two say to each other.
package handle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// ErrUnreachable is wrapped by errors about handles that name what cannot be
// reached: it is gone, or was never within reach.
var ErrUnreachable = errors.New("handle cannot be reached")

// Exported is what others can hold a handle on.
type Exported interface {
	// Hold takes the stream of a holder, who waits for one empty item as the word
	// that it has come to the right place. lost says why the stream has ended when
	// that was not finished but lost with its link; it may wait. The link's reader
	// calls Hold, so it must not block. An error refuses the holder.
	Hold(s *mux.Stream, lost Lost) error
}

// Lost makes of the error of a link the reason for its end, which it may have to
// wait for: how the process at its other end has ended.
type Lost func(error) error

// Home is a place where channel ends and objects live. Its methods may be used
// concurrently.
type Home struct {
	*place
	lost Lost // of the link that From is about
}

// place is what all views of a home share.
type place struct {
	label string

	mu      sync.Mutex
	path    []string
	up      *link            // to the caller; nil at the root
	below   map[string]*link // to the workers, by the last part of their path
	exports map[string]Exported
}

// link is the way to another home.
type link struct {
	conn *peer.Conn
	lost Lost
}

// NewRoot returns the home of a program that is nobody's worker. The label says
// where it is, in errors.
func NewRoot(label string) *Home {
	h := NewWorker(label)
	h.path = []string{rand.Text()}
	return h
}

// NewWorker returns a worker's home, whose path its caller's hello brings:
// Settle.
func NewWorker(label string) *Home {
	return (&Home{place: &place{label: label, below: map[string]*link{}, exports: map[string]Exported{}}}).From(nil)
}

// From returns the same home for Join and Accept of one link, of which lost says
// the reason for its end; nil: what the link says itself.
func (h *Home) From(lost Lost) *Home {
	if lost == nil {
		lost = func(err error) error { return err }
	}
	return &Home{h.place, lost}
}

// Settle says where a worker's home is.
func (h *Home) Settle(path []string, up *peer.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.path, h.up = path, &link{up, h.lost}
}

// Below returns the path for a new worker's home below this one.
func (h *Home) Below() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append(slices.Clone(h.path), rand.Text())
}

// Join notes the link to a worker's home, until Leave.
func (h *Home) Join(path []string, conn *peer.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.below[path[len(path)-1]] = &link{conn, h.lost}
}

// Leave notes that a worker is gone.
func (h *Home) Leave(path []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.below, path[len(path)-1])
}

// Export makes x reachable, until Withdraw, and returns the token that names it.
func (h *Home) Export(x Exported) string {
	token := rand.Text()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.exports[token] = x
	return token
}

// Withdraw makes what a token names unreachable. Those who hold it keep it.
func (h *Home) Withdraw(token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.exports, token)
}

// Handle returns the handle of what a token names here, which takes items of so
// many bytes.
func (h *Home) Handle(token, typ string, limit int64) *wire.Handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &wire.Handle{Path: h.path, Token: token, Type: typ, Label: h.label, Limit: limit}
}

// Local returns what a handle names if that is in this home.
//
// In a worker it finds nothing: its handles lead through the caller, also to the
// worker itself, so that a holder there is what it is everywhere else.
func (h *Home) Local(to *wire.Handle) (x Exported, here bool, err error) {
	h.mu.Lock()
	worker := h.up != nil
	h.mu.Unlock()
	if worker {
		return nil, false, nil
	}
	return h.Own(to)
}

// Own returns what a handle names if that is in this home, a worker's too.
func (h *Home) Own(to *wire.Handle) (x Exported, here bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.path, to.Path) {
		return nil, false, nil
	}
	if x = h.exports[to.Token]; x == nil {
		err = gone(to)
	}
	return x, true, err
}

func gone(to *wire.Handle) error {
	return fmt.Errorf("%w: %w: %s in %s", ErrUnreachable, peer.ErrClosed, to.Type, to.Label)
}

// way returns the link on which a handle is reached; viaCaller lets what is in
// this very home be reached through the caller.
func (h *Home) way(to *wire.Handle, viaCaller bool) (*link, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.path)
	switch {
	case n == 0 || len(to.Path) == 0 || to.Path[0] != h.path[0]:
		return nil, fmt.Errorf("%w: %s is in %s, which is none of this program's processes (here: %s)",
			ErrUnreachable, to.Type, to.Label, h.label)
	case len(to.Path) > n && slices.Equal(to.Path[:n], h.path):
		if l := h.below[to.Path[n]]; l != nil {
			return l, nil
		}
		return nil, fmt.Errorf("%w: %w: %s is gone, which had %s", ErrUnreachable, peer.ErrWorkerLost, to.Label, to.Type)
	case h.up != nil && (viaCaller || !slices.Equal(to.Path, h.path)):
		return h.up, nil
	}
	return nil, gone(to)
}

// HolderCredit is how many bytes an end that has just bound may be sent, as mux
// counts them: the one empty item, and word of how a channel ends. What else it may
// be sent it says when it wants to receive: until then nothing is taken from those
// who do.
const HolderCredit = mux.MaxFinish + 64

// Bind opens a stream to what a handle names, and waits for the word that it is
// there. The stream's other end may send once the caller has called Grant. lost
// is that of the link on which it goes.
func (h *Home) Bind(ctx context.Context, to *wire.Handle) (s *mux.Stream, lost Lost, err error) {
	l, err := h.way(to, true)
	if err != nil {
		return nil, nil, err
	}
	if s, err = l.open(to); err != nil {
		return nil, nil, err
	}
	if err = l.welcome(ctx, s); err != nil {
		peer.Finish(s, wire.Ending{}, nil)
		return nil, nil, err
	}
	return s, l.lost, nil
}

func (l *link) open(to *wire.Handle) (*mux.Stream, error) {
	s, err := l.conn.Session().Open(to.Append([]byte{wire.PurposeHandle}), mux.StreamOptions{Credit: HolderCredit})
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, mux.ErrTooLarge): // nobody makes such a one
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return nil, &Refused{l.lost(err)}
}

// welcome waits for the empty item.
func (l *link) welcome(ctx context.Context, s *mux.Stream) error {
	item, err := s.Recv(ctx)
	switch {
	case err == nil && len(item) == 0:
		return nil
	case err == nil:
		return &Refused{fmt.Errorf("%w: %d bytes in place of a welcome", wire.ErrMalformed, len(item))}
	case s.Err() == nil && ctx.Err() != nil:
		return err
	case err == io.EOF:
		return &Refused{fmt.Errorf("%w: an end in place of a welcome", wire.ErrMalformed)}
	}
	return &Refused{How(err, l.lost)}
}

// How says how a stream has ended whose error is err, which is not io.EOF; it
// is that of one whose far side had no more to say.
func How(err error, lost Lost) error {
	_, how := peer.Ended(err)
	if l, ok := how.(*peer.Lost); ok && !errors.Is(err, mux.ErrReset) {
		return lost(l.Cause)
	}
	return how
}

// Refused says why what a handle names cannot be reached: the word of another
// home, or the end of the way there.
type Refused struct{ how error }

// Error says why.
func (r *Refused) Error() string { return r.how.Error() }

// Is makes it an ErrUnreachable.
func (r *Refused) Is(target error) bool { return target == ErrUnreachable }

// Unwrap returns the reason.
func (r *Refused) Unwrap() error { return r.how }

// Accept takes a stream that was opened with a handle, of which purpose is the
// rest; it is a peer.Config's Stream for such.
func (h *Home) Accept(s *mux.Stream, rest *wire.Reader) error {
	to, err := wire.ParseHandle(rest)
	if err != nil {
		return err
	}
	if err := h.accept(s, to); err != nil {
		refuse(s, err)
	}
	return nil
}

func (h *Home) accept(s *mux.Stream, to *wire.Handle) error {
	x, here, err := h.Own(to)
	if err != nil {
		return err
	}
	if here {
		return x.Hold(s, h.lost)
	}
	l, err := h.way(to, false)
	if err != nil {
		return err
	}
	go (&passage{s, h.lost, to, l}).run()
	return nil
}

func refuse(s *mux.Stream, err error) {
	peer.Finish(s, wire.Ending{Code: wire.EndFailed}, err)
}
