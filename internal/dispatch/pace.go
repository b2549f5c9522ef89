package dispatch

import "time"

// Chunks are sized so that one takes about targetChunk to run: long enough that
// what a chunk costs is small beside it, short enough that nothing waits behind
// it for long.
const (
	targetChunk = 200 * time.Microsecond
	maxChunk    = 1024 // calls
	// prefetchBelow is how long a call may take for the next to be sent ahead:
	// for longer ones the pause between two is nothing, and a call sent ahead
	// could have run elsewhere.
	prefetchBelow = 2 * time.Millisecond
)

// pace is how long the calls of one function take.
type pace struct {
	average time.Duration // 0: not known
	size    int           // of chunks
}

// learn takes the time of n calls into account: at once when they were slower
// than thought, gradually when they were faster.
func (p *pace) learn(n int, elapsed time.Duration) {
	if n == 0 {
		return
	}
	each := min(max(elapsed/time.Duration(n), 1), time.Hour) // the worker's word is not trusted
	switch {
	case p.average == 0 || each > p.average:
		p.average = each
	default:
		p.average = (3*p.average + each) / 4
	}
	fit := int(targetChunk / max(p.average, 1))
	p.size = min(max(fit, 1), 2*max(p.size, 1), maxChunk)
}

func (p *pace) chunk() int { return max(p.size, 1) }

// quick tells whether calls are worth sending ahead.
func (p *pace) quick() bool { return p.average > 0 && p.average < prefetchBelow }
