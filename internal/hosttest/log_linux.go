package hosttest

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"sync"
	"time"
)

// log keeps what a host's processes print, and lets others wait for lines of it.
type log struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and replaced with every line
	over  chan struct{} // closed when nothing more comes; nil before read
}

func newLog() *log { return &log{more: make(chan struct{})} }

// read keeps everything that from has.
func (l *log) read(from io.ReadCloser) {
	l.over = make(chan struct{})
	go func() {
		defer close(l.over)
		defer from.Close()
		for lines := bufio.NewScanner(from); lines.Scan(); {
			l.mu.Lock()
			l.lines = append(l.lines, lines.Text())
			close(l.more)
			l.more = make(chan struct{})
			l.mu.Unlock()
		}
	}()
}

// wait waits until nothing more comes.
func (l *log) wait() {
	if l.over != nil {
		<-l.over
	}
}

// length is how many lines there are.
func (l *log) length() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// await waits for a line that contains text, not counting the first skip ones.
func (l *log) await(text string, skip int) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		l.mu.Lock()
		fresh, more := l.lines[skip:], l.more
		l.mu.Unlock()
		for _, line := range fresh {
			if strings.Contains(line, text) {
				return nil
			}
		}
		skip += len(fresh)
		select {
		case <-more:
		case <-l.over:
			return errors.New("it has ended")
		case <-timer.C:
			return errors.New("it does not say " + text)
		}
	}
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
