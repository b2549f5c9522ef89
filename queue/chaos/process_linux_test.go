package chaos_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar/internal/hosttest"
)

// stage is where a test's processes are, all of which are gone at its end.
type stage struct {
	t    testing.TB
	dir  string
	tmp  string // where its processes have their temporary files
	mark string

	mu    sync.Mutex
	actor []*process
}

func newStage(t testing.TB) *stage {
	t.Helper()
	s := &stage{t: t, dir: t.TempDir()}
	s.tmp, s.mark = filepath.Join(s.dir, "tmp"), markVariable+"="+s.dir
	must(t, os.Mkdir(s.tmp, 0o700))
	t.Cleanup(func() {
		s.mu.Lock()
		actors := s.actor
		s.mu.Unlock()
		for _, p := range actors {
			p.kill()
			if t.Failed() && p.said() != "" {
				t.Logf("%s: %s", p.name, p.said())
			}
		}
		hosttest.Until(t, "all processes of the test, and their children, are gone", func() bool { return len(s.left()) == 0 })
	})
	return s
}

// left are the processes that the test has started, and those which these have.
func (s *stage) left() (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range all {
		environ, err := os.ReadFile(path)
		if err == nil && bytes.Contains(append(environ, 0), append([]byte(s.mark), 0)) {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

// environ is that of all its processes.
func (s *stage) environ(p *part) []string {
	text, err := json.Marshal(p)
	must(s.t, err)
	return []string{partVariable + "=" + string(text), s.mark, "TMPDIR=" + s.tmp, "XDG_CACHE_HOME=" + filepath.Join(s.dir, "cache"),
		"GORACE=atexit_sleep_ms=0"}
}

// play starts a process of this program. each is given the lines that it prints.
func (s *stage) play(p part, each func(line string)) *process {
	s.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), s.environ(&p)...)
	return s.start(p.Role+" "+p.Name, cmd, each)
}

// process is a process that a test has started.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	gone  chan struct{} // closed when it has ended, and all its lines were given

	mu     sync.Mutex
	stderr bytes.Buffer
}

// start starts a process.
func (s *stage) start(name string, cmd *exec.Cmd, each func(line string)) *process {
	s.t.Helper()
	p := &process{name: name, cmd: cmd, gone: make(chan struct{})}
	stdin, err := cmd.StdinPipe()
	must(s.t, err)
	stdout, err := cmd.StdoutPipe()
	must(s.t, err)
	p.stdin, cmd.Stderr = stdin, p
	must(s.t, cmd.Start())
	s.mu.Lock()
	s.actor = append(s.actor, p)
	s.mu.Unlock()
	go func() {
		defer close(p.gone)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if each != nil {
				each(lines.Text())
			}
		}
		_ = cmd.Wait() // cmd.ProcessState has what is of interest
	}()
	return p
}

// Write takes what it prints to its standard error.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stderr.Len() < 16<<10 {
		p.stderr.Write(b)
	}
	return len(b), nil
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// kill is kill -9. It returns false if the process had ended before.
func (p *process) kill() bool {
	_ = p.cmd.Process.Kill()
	<-p.gone
	return p.cmd.ProcessState.ExitCode() == -1
}

// end has the process end by itself, and waits for that.
func (p *process) end(t testing.TB) {
	t.Helper()
	_ = p.stdin.Close()
	select {
	case <-p.gone:
	case <-time.After(patience):
		p.kill()
	}
	if !p.cmd.ProcessState.Success() {
		t.Errorf("%s: %v: %s", p.name, p.cmd.ProcessState, p.said())
	}
}

// lines keeps lines for those who wait for one.
type lines struct {
	mu   sync.Mutex
	all  []string
	more chan struct{} // closed and replaced with every line
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
	close(l.more)
	l.more = make(chan struct{})
}

// wait returns the first line that has all the words.
func (l *lines) wait(t testing.TB, words ...string) string {
	t.Helper()
	for over := time.After(patience); ; {
		l.mu.Lock()
		all, more := l.all, l.more
		l.mu.Unlock()
		for _, line := range all {
			has := true
			for _, word := range words {
				has = has && strings.Contains(line, word)
			}
			if has {
				return line
			}
		}
		select {
		case <-more:
		case <-over:
			t.Fatalf("nobody has said %q, but\n%s", words, strings.Join(all, "\n"))
		}
	}
}

// empty checks that a directory has nothing in it.
func empty(t testing.TB, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	must(t, err)
	if len(files) > 0 {
		t.Errorf("left behind: %v", fmt.Sprint(files))
	}
}
