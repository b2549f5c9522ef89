package ship

import (
	"errors"
	"strings"
	"sync"
)

const (
	// noiseLimit is how many bytes the far side may print besides its answers.
	noiseLimit = 1 << 20

	// tailLimit and tailLines bound what of that is quoted in errors.
	tailLimit = 2 << 10
	tailLines = 8
)

var errNoise = errors.New("it prints more than 1 MiB that is not an answer")

// A transcript is what a bootstrap knows when it fails, at any time and seen from any goroutine.
type transcript struct {
	mu     sync.Mutex
	stage  Stage
	cached bool // the image that is started was there
	system string
	tail   []byte // the end of the noise
	noise  int    // all bytes of it
}

// reach notes the stage that fails from now on, if any does.
func (t *transcript) reach(stage Stage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stage = stage
}

// start notes that the image is executed.
func (t *transcript) start(cached bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stage, t.cached = StageStart, cached
}

func (t *transcript) learn(system string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.system = system
}

// hear notes what the far side printed besides its answers. It fails when that is too much.
func (t *transcript) hear(noise []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noise += len(noise)
	t.tail = append(t.tail, noise...)
	if extra := len(t.tail) - tailLimit; extra > 0 {
		t.tail = append(t.tail[:0], t.tail[extra:]...)
	}
	if t.noise > noiseLimit {
		return errNoise
	}
	return nil
}

// heard tells whether a text is in the end of the noise.
func (t *transcript) heard(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Contains(string(t.tail), text)
}

// fail makes the error of the current stage.
func (t *transcript) fail(err error) *Error {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := &Error{Stage: t.stage, System: t.system, Output: lastLines(string(t.tail)), Cached: t.cached, Err: err}
	if e.Stage == StageTerminal {
		e.Output = "" // It is the script: terminals echo.
	}
	return e
}

// lastLines returns the end of what was printed, as text.
func lastLines(printed string) string {
	if extra := len(printed) - tailLimit; extra > 0 {
		printed = printed[extra:]
	}
	printed = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (r < ' ' || r == 0x7f) {
			return -1 // Colours and cursor movements have no place in an error.
		}
		return r
	}, strings.ToValidUTF8(printed, "\uFFFD"))
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
