package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"unicode"
)

// fileCount is what one file adds to the tally.
type fileCount struct {
	Binary bool // not text, and not counted
	Bytes  int64
	Words  map[string]int64
}

// sniffed is how many bytes decide whether a file is text.
const sniffed = 8000

// countFile counts the words of one file. It runs in the workers, and knows
// nothing of that.
func countFile(ctx context.Context, path string) (fileCount, error) {
	f, err := os.Open(path)
	if err != nil {
		return fileCount{}, err
	}
	defer f.Close()
	text := bufio.NewReaderSize(f, 64<<10)
	head, err := text.Peek(sniffed)
	if err != nil && err != io.EOF {
		return fileCount{}, err
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return fileCount{Binary: true}, nil
	}
	return countWords(ctx, text)
}

// countWords counts the words that it reads from text, up to its end.
func countWords(ctx context.Context, text io.RuneReader) (fileCount, error) {
	counted := fileCount{Words: map[string]int64{}}
	var word []rune
	for ctx.Err() == nil {
		r, size, err := text.ReadRune()
		counted.Bytes += int64(size)
		if err == nil && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			word = append(word, unicode.ToLower(r))
			continue
		}
		if len(word) > 0 {
			counted.Words[string(word)]++
			word = word[:0]
		}
		if errors.Is(err, io.EOF) {
			return counted, nil
		}
		if err != nil {
			return fileCount{}, err
		}
	}
	return fileCount{}, context.Cause(ctx)
}
