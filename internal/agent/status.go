package agent

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// Status asks the place how it is. The answer takes one round trip.
func (p *Place) Status(ctx context.Context) (*wire.Status, error) {
	s, err := p.session.Open([]byte{wire.PurposeStatus}, mux.StreamOptions{})
	if err != nil {
		return nil, err
	}
	defer s.Reset("no longer wanted")
	_, err = s.Recv(ctx)
	if finished, ok := errors.AsType[*mux.Finished](err); ok {
		return wire.ParseStatus(finished.Payload)
	}
	if err == nil {
		err = wire.ErrMalformed // an item instead of the end
	}
	return nil, err
}

// tell answers Place.Status.
func (v *Server) tell(s *mux.Stream, rest *wire.Reader) error {
	if err := rest.End(); err != nil {
		return err
	}
	var status wire.Status
	if v.Status != nil {
		status = v.Status()
	} else {
		status.Own = v.Workers()
		status.Workers = status.Own
	}
	status.LoadMilli = loadAverages()
	s.Finish(status.Append(nil))
	return nil
}

// loadAverages are those of the last 1, 5 and 15 minutes, times 1,000; none where
// the system does not say them.
func loadAverages() []int {
	text, err := os.ReadFile("/proc/loadavg")
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 3 {
		return nil
	}
	var averages []int
	for _, field := range fields[:3] {
		load, err := strconv.ParseFloat(string(field), 64)
		if err != nil {
			return nil
		}
		averages = append(averages, int(load*1000))
	}
	return averages
}
