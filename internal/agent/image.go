package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// Keeper keeps images by their hashes.
type Keeper interface {
	// Has tells whether an image is there.
	Has(hash string) bool
	// Put reads an image, as it is or compressed, and keeps it if it is what its
	// hash says. size is how many bytes will come.
	Put(ctx context.Context, hash string, size int64, r io.Reader) error
}

// isHash tells whether a text is a SHA-256 as images are named by.
func isHash(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

// Words about an image.
const (
	imageNeeded byte = iota // the image is to come
	imageKept               // it is there
	imageFailed             // it is not kept; the reason follows
)

// PutImage sees to it that an image is kept at the place: it is sent if it is not
// there. open returns it, as it is or compressed with gzip, and how many bytes that
// is. sent tells whether it had to be sent.
func (p *Place) PutImage(ctx context.Context, hash string, size int64, open func() (io.ReadCloser, error)) (sent bool, err error) {
	purpose := binary.AppendUvarint(wire.AppendText([]byte{wire.PurposeImage}, hash), uint64(size))
	s, err := p.session.Open(purpose, mux.StreamOptions{})
	if err != nil {
		return false, err
	}
	defer s.Reset("no longer wanted")
	if _, err := s.Recv(ctx); err != nil {
		return false, kept(err)
	}
	r, err := open()
	if err != nil {
		return false, err
	}
	defer r.Close()
	buf := make([]byte, chunk)
	for left := size; left > 0; {
		n, err := r.Read(buf[:min(left, chunk)])
		if n > 0 {
			if err := s.Send(ctx, buf[:n], nil); err != nil {
				return true, kept(err)
			}
			left -= int64(n)
		} else if err != nil {
			return true, fmt.Errorf("read the image: %w", err)
		}
	}
	s.End()
	_, err = s.Recv(ctx)
	return true, kept(err)
}

// kept says what became of an image by how its stream has ended.
func kept(err error) error {
	var finished *mux.Finished
	if !errors.As(err, &finished) || len(finished.Payload) == 0 {
		return err
	}
	if finished.Payload[0] == imageKept {
		return nil
	}
	return errors.New(string(finished.Payload[1:]))
}

// keep takes an image.
func (v *Server) keep(s *mux.Stream, rest *wire.Reader) error {
	hash, size := rest.Text(), rest.Long()
	if err := rest.End(); err != nil {
		return err
	}
	if !isHash(hash) {
		return fmt.Errorf("%q is not the hash of an image", hash)
	}
	return v.do(func() {
		if v.Keep.Has(hash) {
			s.Finish([]byte{imageKept})
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-s.Done():
				cancel()
			case <-ctx.Done():
			}
		}()
		if s.SendNow(ctx, []byte{imageNeeded}, nil) != nil {
			return
		}
		if err := v.Keep.Put(ctx, hash, size, &streamLink{s: s}); err != nil {
			text := err.Error()
			s.Finish(append([]byte{imageFailed}, text[:min(len(text), 1<<10)]...))
			return
		}
		s.Finish([]byte{imageKept})
	})
}
