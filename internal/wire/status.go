package wire

import "encoding/binary"

// Status is what an agent says of itself and its host when it is asked.
type Status struct {
	Draining  bool   // it starts nothing more
	Program   string // which program it is, and its version; may be empty
	Workers   int    // that it started and that run now, for all its callers
	Own       int    // of them: of the caller that asks
	LoadMilli []int  // the host's load averages of 1, 5 and 15 minutes, times 1,000; empty: not known
	// Limits says for each limit of the caller how it is enforced, or that it is not.
	Limits []string
}

// Append appends the status.
func (s *Status) Append(dst []byte) []byte {
	var flags byte
	if s.Draining {
		flags = 1
	}
	dst = AppendText(append(dst, flags), s.Program)
	dst = AppendInt(AppendInt(dst, s.Workers), s.Own)
	dst = binary.AppendUvarint(dst, uint64(len(s.LoadMilli)))
	for _, n := range s.LoadMilli {
		dst = AppendInt(dst, n)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.Limits)))
	for _, limit := range s.Limits {
		dst = AppendText(dst, limit)
	}
	return dst
}

// ParseStatus reads a status that fills data.
func ParseStatus(data []byte) (*Status, error) {
	r := NewReader(data)
	s := &Status{Draining: r.Flags(1) == 1, Program: r.Text(), Workers: r.Int(), Own: r.Int()}
	for i, n := 0, r.Count(); i < n && r.Err() == nil; i++ {
		s.LoadMilli = append(s.LoadMilli, r.Int())
	}
	for i, n := 0, r.Count(); i < n && r.Err() == nil; i++ {
		s.Limits = append(s.Limits, r.Text())
	}
	return s, r.End()
}
