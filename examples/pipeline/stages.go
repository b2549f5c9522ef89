package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/afar-go/afar"
)

// What goes through the pipeline. A routine has no parameters but its channel, so
// the first item for a stage says to where its results go: the handle on the
// channel to the next stage, which has the types of that channel.
type (
	source struct {
		Path string
		To   afar.ChannelRef[line, nothing]
	}
	line struct {
		Number int
		Text   string
		To     afar.ChannelRef[word, tally] // in the first, which has no text
	}
	word  string
	tally struct {
		Word  word
		Count int
	}
	nothing struct{} // what a stage sends to its starter that has nothing to say
)

// The stages, each a routine of its own that can run anywhere.
var (
	reading    = afar.Routine(read)
	tokenizing = afar.Routine(tokenize)
	counting   = afar.Routine(count)
)

// badLine is the error of a line that is not text. Registered, it is found by
// errors.As with its fields in whatever process the error ends up.
type badLine struct{ Number int }

func (b *badLine) Error() string { return fmt.Sprintf("line %d is not UTF-8", b.Number) }

func init() { afar.RegisterErrorType[*badLine]("pipeline.badLine") }

// read is the first stage: it sends the lines of the source, of which it gets one.
func read(ctx context.Context, ch *afar.Channel[nothing, source]) error {
	src, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	// From here on, to is a channel like any other. It is given up when this
	// routine returns, and if that is with an error, the error ends the next stage
	// as well. A deferred Close would come before that, and hide it.
	to, err := src.To.Bind(ctx)
	if err != nil {
		return err
	}
	file, err := os.Open(src.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		// It waits while the next stage is behind.
		if err := to.Send(ctx, line{Number: number, Text: lines.Text()}); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return to.CloseSend() // the end of the lines, over there
}

// tokenize is the second stage: lines in, words out, in lower case.
func tokenize(ctx context.Context, ch *afar.Channel[nothing, line]) error {
	first, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	to, err := first.To.Bind(ctx)
	if err != nil {
		return err
	}
	for l, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		if !utf8.ValidString(l.Text) {
			return &badLine{l.Number}
		}
		notInWord := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
		for _, w := range strings.FieldsFunc(strings.ToLower(l.Text), notInWord) {
			if err := to.Send(ctx, word(w)); err != nil {
				return err
			}
		}
	}
	return to.CloseSend()
}

// count is the last stage: when no more words come, it sends the tallies to its
// starter, that of the most frequent word first.
func count(ctx context.Context, ch *afar.Channel[tally, word]) error {
	counts := map[word]int{}
	for w, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		counts[w]++
	}
	words := slices.SortedFunc(maps.Keys(counts), func(a, b word) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, w := range words {
		if err := ch.Send(ctx, tally{w, counts[w]}); err != nil {
			return err
		}
	}
	return nil
}
