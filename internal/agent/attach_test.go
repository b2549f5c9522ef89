package agent_test

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// The stream for the bytes of something that does not start ends, whichever of the two is first.
func TestStreamOfWhatDoesNotStartEnds(t *testing.T) {
	_, conn := serve(t, &agent.Server{Command: func(launch.Order) (*launch.Worker, error) {
		return nil, errors.New("not today")
	}})
	s := conn.Session()
	order := (&wire.Launch{Argv: []string{"true"}}).Append([]byte{wire.PurposeCommand})
	patience, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 2000 {
				control, err := s.Open(order, mux.StreamOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				bytes, err := s.Open(binary.AppendUvarint([]byte{wire.PurposeLink}, control.ID()), mux.StreamOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				<-control.Done()
				select {
				case <-bytes.Done():
				case <-patience.Done():
					t.Error("a stream stays open")
					return
				}
			}
		})
	}
	callers.Wait()
}
