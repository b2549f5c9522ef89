package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/peer"
	"pgregory.net/rapid"
)

// step is one thing that happens in a random story.
type step struct {
	Do    string
	Input string // of calls
	Spec  int
	N     int
	Pause time.Duration // afterwards
}

// spec returns one of the policies of the stories.
func specFor(i int) *Spec {
	always := func(error) bool { return true }
	pause := func(attempt int) time.Duration { return time.Duration(attempt) * 7 * time.Millisecond }
	s := []Spec{
		{}, {MaxAttempts: 1}, {MaxAttempts: 2, RetryError: always}, {Timeout: 10 * time.Millisecond, Grace: 30 * time.Millisecond},
		{MaxAttempts: 4, Backoff: pause, RetryError: always}, {MaxAttempts: 2, Timeout: 15 * time.Millisecond, RetryError: always, Grace: time.Millisecond},
		{MaxAttempts: 1, Timeout: 5 * time.Millisecond, Grace: 5 * time.Millisecond},
	}[i]
	s.Key, s.Name = keys[0], "f"
	s.Log = func(string, *Call, *peer.Record) {}
	return &s
}

var words = []string{"", "", "", "ms", "slow", "stubborn", "fail", "panic", "exit", "die", "log", "progress", "log ms fail", "nest", "nest slow", "nest nest ms", "nests ms", "nests nest log", "nest fail", "nest die"}

func drawSteps(rt *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
		return step{
			Do:    rapid.SampledFrom([]string{"call", "call", "call", "burst", "do", "map", "leave", "cancel", "cancel", "kill", "retire", "seat", "pause"}).Draw(rt, "do"),
			Input: rapid.SampledFrom(words).Draw(rt, "input"),
			Spec:  rapid.IntRange(0, 6).Draw(rt, "spec"),
			N:     rapid.IntRange(0, 40).Draw(rt, "n"),
			Pause: time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 300, 1000, 5000, 30000}).Draw(rt, "pause")) * time.Microsecond,
		}
	}), 1, 60).Draw(rt, "steps")
}

// story is the run of random steps, and what is known of its calls.
type story struct {
	d    *Dispatcher
	crew *crew

	mu       sync.Mutex
	calls    []*Call
	canceled map[*Call]bool // nobody may get an outcome
	loose    map[*Call]bool // nobody need get one
	outcomes map[*Call][]Outcome
	sources  []*Source
	wg       sync.WaitGroup
	wrong    []string
}

func (s *story) Deliver(ds []Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range ds {
		s.outcomes[x.Call] = append(s.outcomes[x.Call], x.Outcome)
	}
}

func (s *story) call(spec *Spec, words string) *Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Call{Spec: spec, Input: []byte(fmt.Sprint(words, " #", len(s.calls))), To: s, ID: uint64(len(s.calls))}
	s.calls = append(s.calls, c)
	return c
}

func (s *story) do(x step) {
	spec := specFor(x.Spec)
	switch x.Do {
	case "call":
		s.d.Submit(s.call(spec, x.Input))
	case "burst":
		for range x.N {
			s.d.Submit(s.call(spec, x.Input))
		}
	case "seat":
		spec.Lane = s.crew.seats[x.N%len(s.crew.seats)]
		s.d.Submit(s.call(spec, x.Input))
	case "do":
		s.wg.Go(func() { s.wait(spec, x) })
	case "map":
		src := s.d.Source(spec)
		s.sources = append(s.sources, src)
		s.wg.Go(func() {
			for range x.N {
				if src.Ready(context.Background()) != nil {
					return
				}
				c := s.call(spec, x.Input)
				s.mu.Lock()
				s.loose[c] = true
				s.mu.Unlock()
				src.Add(c)
			}
		})
	case "leave":
		if len(s.sources) > 0 {
			s.sources[0].Leave(context.Canceled)
			s.sources = s.sources[1:]
		}
	case "cancel":
		s.cancel(x.N)
	case "kill":
		s.crew.kill(x.N)
	case "retire":
		s.retire(x.N)
	}
	pause(x.Pause)
}

// wait is a call that somebody waits for, not for ever.
func (s *story) wait(spec *Spec, x step) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+x.N)*time.Millisecond)
	defer cancel()
	p := NewPending()
	defer p.Put()
	input := fmt.Sprintf("%s #do%p", x.Input, p)
	p.Spec = spec
	p.Buf = append(p.Buf[:0], input...)
	p.Input = p.Buf
	if out := s.d.Do(ctx, p, nil); out.Err == nil && string(out.Output) != input {
		s.mu.Lock()
		s.wrong = append(s.wrong, fmt.Sprintf("asked for %q, got %q", input, out.Output))
		s.mu.Unlock()
	}
}

func (s *story) cancel(i int) {
	s.mu.Lock()
	if len(s.calls) == 0 {
		s.mu.Unlock()
		return
	}
	c := s.calls[len(s.calls)-1-i%len(s.calls)]
	loose := s.loose[c]
	s.mu.Unlock()
	if !loose && s.d.Cancel(c, errors.New("canceled")) {
		s.mu.Lock()
		s.canceled[c] = true
		s.mu.Unlock()
	}
}

// retire has a worker take no more calls, and ends it when it has none.
func (s *story) retire(i int) {
	s.d.mu.Lock()
	var l *Lane
	if n := len(s.d.lanes); n > 1 {
		l = s.d.lanes[i%n]
	}
	s.d.mu.Unlock()
	if l == nil {
		return
	}
	empty := l.Retire()
	s.wg.Go(func() {
		<-empty
		_ = l.conn.Close()
	})
}

// end waits for all calls and checks what became of them.
func (s *story) end() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for _, src := range s.sources {
		defer src.Leave(context.Canceled)
	}
	if err := s.d.Drain(ctx); err != nil {
		s.wrong = append(s.wrong, err.Error(), leftovers(s.d))
		s.d.Fail(ErrClosed)
	}
	for _, src := range s.sources {
		src.Leave(context.Canceled)
	}
	s.sources = nil
	if left := s.crew.close(); left != "" {
		s.wrong = append(s.wrong, "left in the workers: "+left)
	}
	s.wg.Wait()
	synctest.Wait()
	if left := leftovers(s.d); left != "" {
		s.wrong = append(s.wrong, "left: "+left)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.crew.mu.Lock()
	defer s.crew.mu.Unlock()
	for _, c := range s.calls {
		s.check(c)
	}
	for input, n := range s.crew.begun {
		if i := strings.LastIndex(input, "#"); n > 60 && i >= 0 {
			s.wrong = append(s.wrong, fmt.Sprintf("%q began %d times", input, n))
		}
	}
}

func (s *story) check(c *Call) {
	input, outs := string(c.Input), s.outcomes[c]
	bad := func(format string, args ...any) {
		s.wrong = append(s.wrong, fmt.Sprintf("%q, attempts of %d: ", input, c.Spec.maxAttempts())+fmt.Sprintf(format, args...))
	}
	switch {
	case len(outs) > 1:
		bad("ended %d times", len(outs))
	case s.canceled[c] && len(outs) > 0:
		bad("canceled, and ended")
	case !s.canceled[c] && !s.loose[c] && len(outs) == 0:
		bad("never ended")
	}
	if c.Spec.exact() && s.crew.begun[input] > 1 {
		bad("began %d times", s.crew.begun[input])
	}
	for _, out := range outs {
		if out.Attempt < 1 || out.Attempt > c.Spec.maxAttempts() {
			bad("ended at attempt %d", out.Attempt)
		}
		if out.Err == nil && string(out.Output) != input {
			bad("got %q", out.Output)
		}
		plain := strings.HasPrefix(input, " #") || strings.HasPrefix(input, "ms #") || strings.HasPrefix(input, "log #")
		var lost *Lost
		if plain && out.Err != nil && !errors.As(out.Err, &lost) && out.Err != ErrTimeout && out.Err != ErrClosed && !(s.loose[c] && out.Err == context.Canceled) {
			bad("ended with %v", out.Err)
		}
	}
}

// TestRandomStories: whatever happens, each call ends exactly once, and nothing
// is left behind.
func TestRandomStories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps(rt)
		workers, slots := rapid.IntRange(1, 3).Draw(rt, "workers"), rapid.IntRange(1, 3).Draw(rt, "slots")
		var wrong []string
		synctest.Test(t, func(*testing.T) {
			d := New()
			s := &story{d: d, crew: newCrew(d, workers, slots), canceled: map[*Call]bool{}, loose: map[*Call]bool{}, outcomes: map[*Call][]Outcome{}}
			for _, x := range steps {
				s.do(x)
			}
			s.end()
			time.Sleep(time.Minute) // functions that do not care for their contexts end too
			wrong = slices.Clone(s.wrong)
		})
		if len(wrong) > 0 {
			rt.Fatalf("%s", strings.Join(wrong, "\n"))
		}
	})
}
