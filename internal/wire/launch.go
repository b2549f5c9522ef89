package wire

import "encoding/binary"

// Launch says what is to be started on the other end's host.
type Launch struct {
	Image string   // the hash of the program; empty for the other end's own
	ID    string   // of a worker
	Dir   string   // working directory; empty for the other end's
	Argv  []string // of a command; of a program, without its name
	Env   []string // KEY=VALUE
	Nice  int
	Share int // how many workers share the host's processors; 0: does not matter
}

// Append appends the launch.
func (l *Launch) Append(dst []byte) []byte {
	for _, s := range []string{l.Image, l.ID, l.Dir} {
		dst = AppendText(dst, s)
	}
	for _, list := range [][]string{l.Argv, l.Env} {
		dst = binary.AppendUvarint(dst, uint64(len(list)))
		for _, s := range list {
			dst = AppendText(dst, s)
		}
	}
	return AppendInt(AppendVarint(dst, int64(l.Nice)), l.Share)
}

// ParseLaunch reads a launch that is the rest of something.
func ParseLaunch(r *Reader) (*Launch, error) {
	l := &Launch{Image: r.Text(), ID: r.Text(), Dir: r.Text()}
	for _, list := range []*[]string{&l.Argv, &l.Env} {
		for i, n := 0, r.Count(); i < n && r.Err() == nil; i++ {
			*list = append(*list, r.Text())
		}
	}
	l.Nice = int(r.Varint())
	l.Share = r.Int()
	return l, r.End()
}

// What an item of a launch's stream is: its first byte. The first group comes from
// the end that has started something, the second goes there.
const (
	LaunchStarted byte = iota // it runs; the number of its process follows
	LaunchPrinted             // a line that it printed follows
	LaunchMemory              // its resident bytes follow
	LaunchOutput              // of a program: bytes of its standard output follow
	LaunchErrors              // and of its standard error

	LaunchKill   // end it
	LaunchAsk    // say LaunchMemory
	LaunchSignal // of a program: the name of a signal for it follows
)

// Exit is how something that was launched has ended, or why it was not started:
// what its stream says last.
type Exit struct {
	Failed      string // why it was not started; empty if it was
	Code        int    // -1: by a signal
	Signal      string
	OutOfMemory bool
	Stderr      string // the last of what it printed
}

// Append appends the exit.
func (e *Exit) Append(dst []byte) []byte {
	var flags byte
	if e.OutOfMemory {
		flags = 1
	}
	dst = AppendVarint(append(dst, flags), int64(e.Code))
	for _, s := range []string{e.Failed, e.Signal, e.Stderr} {
		dst = AppendText(dst, s)
	}
	return dst
}

// ParseExit reads an exit that fills data.
func ParseExit(data []byte) (*Exit, error) {
	r := NewReader(data)
	e := &Exit{OutOfMemory: r.Flags(1) == 1, Code: int(r.Varint())}
	for _, s := range []*string{&e.Failed, &e.Signal, &e.Stderr} {
		*s = r.Text()
	}
	return e, r.End()
}
