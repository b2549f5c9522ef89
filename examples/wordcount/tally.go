package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tally is the sum of many fileCounts.
type tally struct {
	files, binary int
	bytes, total  int64
	words         map[string]int64
	failed        []string // the files that could not be read, with the reason
}

func newTally() *tally {
	return &tally{words: map[string]int64{}}
}

// add takes in what counting the file at path gave.
func (t *tally) add(path string, c fileCount, err error) {
	switch {
	case err != nil:
		t.failed = append(t.failed, fmt.Sprintf("%s: %v", path, err))
		return
	case c.Binary:
		t.binary++
		return
	}
	t.files++
	t.bytes += c.Bytes
	for word, n := range c.Words {
		t.words[word] += n
		t.total += n
	}
}

// top returns the n most frequent words, the most frequent one first.
func (t *tally) top(n int) []string {
	words := slices.SortedFunc(maps.Keys(t.words), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.words[b], t.words[a]), cmp.Compare(a, b))
	})
	return words[:max(0, min(n, len(words)))]
}

// failure is nil if every file could be read, and names the others otherwise.
func (t *tally) failure() error {
	if len(t.failed) == 0 {
		return nil
	}
	slices.Sort(t.failed)
	return fmt.Errorf("%d files could not be read:\n%s", len(t.failed), strings.Join(t.failed, "\n"))
}

// diff says, a line each, in what t is not as want.
func (t *tally) diff(want *tally) []string {
	var lines []string
	compare := func(what string, got, want int64) {
		if got != want {
			lines = append(lines, fmt.Sprintf("%s: %d, but %d in a serial count", what, got, want))
		}
	}
	compare("files", int64(t.files), int64(want.files))
	compare("binary files", int64(t.binary), int64(want.binary))
	compare("files that could not be read", int64(len(t.failed)), int64(len(want.failed)))
	compare("bytes", t.bytes, want.bytes)
	all := maps.Clone(want.words)
	maps.Copy(all, t.words)
	for _, word := range slices.Sorted(maps.Keys(all)) {
		compare(fmt.Sprintf("%q", word), t.words[word], want.words[word])
	}
	return lines
}
