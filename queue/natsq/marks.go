package natsq

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// marksFile says of each queue up to which record it certainly had been written to the disk.
// A server that finds its files damaged leaves out what is behind the damage, and
// starts; this is how one knows that something is missing.
const marksFile = "afar.marks"

// markEvery is how often the marks are written. What is marked was written to the log so long ago
// that it is on the disk also after a failure of power.
const markEvery = 10 * time.Second

// marks are an embedded server's.
type marks struct {
	dir string // "": of no server

	mu      sync.Mutex
	records map[string]uint64
}

// read reads the marks. Without a file that can be read there are none.
func (m *marks) read(dir string) {
	m.dir, m.records = dir, map[string]uint64{}
	if text, err := os.ReadFile(filepath.Join(dir, marksFile)); err == nil {
		_ = json.Unmarshal(text, &m.records)
	}
}

// check checks that a log has what it once had.
func (m *marks) check(token string, last uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if want := m.records[token]; last < want {
		return fmt.Errorf("%w: records %d to %d are missing, by the file %s", errDamaged, last+1, want, filepath.Join(m.dir, marksFile))
	}
	return nil
}

// set marks a record.
func (m *marks) set(token string, record uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records != nil {
		m.records[token] = max(m.records[token], record)
	}
}

// write writes the file anew.
func (m *marks) write() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.records) == 0 {
		return
	}
	text, err := json.Marshal(m.records)
	if err != nil {
		return
	}
	temporary := filepath.Join(m.dir, marksFile+".new")
	if os.WriteFile(temporary, text, 0o600) == nil {
		_ = os.Rename(temporary, filepath.Join(m.dir, marksFile)) // an older file is as good, for a while
	}
}

// mark marks what the keeper had written when it did so before.
func (k *keeper) mark(now int64) {
	if now-k.marked < int64(markEvery) || k.log.last == k.safe {
		return
	}
	if k.safe != 0 {
		k.b.marks.set(k.token, k.safe)
		k.b.marks.write()
	}
	k.marked, k.safe = now, k.log.last
}
