package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// markVar carries a word that is this run's own into the environment of every process that it starts, children's
// children too.
const markVar = "AFAR_BENCH_RUN"

// A mark finds the processes that a run started, however they are related by now.
type mark struct{ entry []byte }

func newMark() (mark, error) {
	word := rand.Text()
	if err := os.Setenv(markVar, word); err != nil {
		return mark{}, err
	}
	return mark{entry: []byte(markVar + "=" + word)}, nil
}

// await returns nil once no marked process but this one is left, and an error that names them if some are still
// there after a while. A worker whose caller has gone ends by itself, but not in the same instant. Without /proc
// it knows nothing and returns nil.
func (m mark) await() error {
	deadline := time.Now().Add(patience)
	for {
		left := m.processes()
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes were left behind: %s", strings.Join(left, ", "))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// processes lists the marked processes. The environment in /proc is the one a process was started with, so this
// one, which marked itself later, is never among them, nor is a zombie, which has none.
func (m mark) processes() []string {
	var found []string
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range paths {
		environ, err := os.ReadFile(path)
		if err != nil || !m.in(environ) {
			continue
		}
		dir := filepath.Dir(path)
		pid := filepath.Base(dir)
		if pid == strconv.Itoa(os.Getpid()) {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		found = append(found, pid+" ("+strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))+")")
	}
	return found
}

func (m mark) in(environ []byte) bool {
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(entry, m.entry) {
			return true
		}
	}
	return false
}
