package mux

import (
	"pgregory.net/rapid"

	"github.com/afar-go/afar/internal/wire"
)

// program is what two ends of a link do with it: a script for each stream and
// for each end's messages. Everything in it happens at the same time.
type program struct {
	config  Config
	streams []streamScript
	posts   [2][]post // by end
	memory  bool      // beside the link
}

// streamScript is what happens on one stream. Direction 0 is from its opener.
type streamScript struct {
	opener int // end
	credit int // StreamOptions.Credit of the opener
	way    [2]wayScript
}

// wayScript is what happens in one direction.
type wayScript struct {
	items    []int // their sizes
	now      bool  // SendNow rather than Send, after Ready
	receiver int   // how items are received
	cut      early // by the sender
	stop     early // by the receiver
}

// The ways to receive.
const (
	byRecv = iota
	byTake
	byTwo     // by two goroutines in turns
	byHandler // by the reader
	receivers
)

// early is the end of a stream before its time.
type early struct {
	after  int // so many items; -1: no
	finish bool
}

func (c early) do(st *Stream, what string) {
	if c.finish {
		st.Finish([]byte(what))
	} else {
		st.Reset(what)
	}
}

// cuts is how often the stream may be ended before its time.
func (s *streamScript) cuts() (n int) {
	for _, w := range s.way {
		for _, c := range []early{w.cut, w.stop} {
			if c.after >= 0 {
				n++
			}
		}
	}
	return n
}

// post is a message.
type post struct {
	size int
	bulk bool
	kick bool // rather than Flush
}

// sizes draws sizes around the borders that count.
func sizes(window int) *rapid.Generator[int] {
	return rapid.OneOf(
		rapid.IntRange(0, 40),
		rapid.IntRange(max(0, window/2-20), window/2+20),
		rapid.IntRange(max(0, window-40), window+40),
		rapid.IntRange(0, 3*window+100),
		rapid.IntRange(wire.MaxFrame-20, wire.MaxFrame+20),
	)
}

func programs() *rapid.Generator[*program] {
	return rapid.Custom(func(t *rapid.T) *program {
		p := &program{config: quiet(), memory: rapid.Bool().Draw(t, "memory")}
		p.config.Window = rapid.SampledFrom([]int{64, 65, 100, 1000, 4095, 4096, 5000, 1 << 16, 1 << 17}).Draw(t, "window")
		cuts := rapid.Custom(func(t *rapid.T) early {
			after := rapid.OneOf(rapid.Just(-1), rapid.Just(-1), rapid.Just(-1), rapid.IntRange(0, 6)).Draw(t, "after")
			return early{after, rapid.Bool().Draw(t, "finish")}
		})
		for range rapid.IntRange(0, 4).Draw(t, "streams") {
			s := streamScript{opener: rapid.IntRange(0, 1).Draw(t, "opener"),
				credit: rapid.SampledFrom([]int{0, 0, -1, itemCost, 50, p.config.Window / 2}).Draw(t, "credit")}
			for i := range s.way {
				s.way[i] = wayScript{
					items:    rapid.SliceOfN(sizes(p.config.Window), 0, 6).Draw(t, "items"),
					now:      rapid.Bool().Draw(t, "now"),
					receiver: rapid.IntRange(0, receivers-1).Draw(t, "receiver"),
					cut:      cuts.Draw(t, "cut"),
					stop:     cuts.Draw(t, "stop"),
				}
			}
			p.streams = append(p.streams, s)
		}
		for i := range p.posts {
			p.posts[i] = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) post {
				return post{bulk: rapid.Bool().Draw(t, "bulk"), kick: rapid.Bool().Draw(t, "kick"),
					size: rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, 4*wire.MaxFrame)).Draw(t, "size")}
			}), 0, 8).Draw(t, "posts")
		}
		return p
	})
}
