package main

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// notes are written by hand: the reasons for what RESULTS.md shows.
//
//go:embed NOTES.md
var notes string

// renderTable gives a Markdown table of all rows, padded so that a terminal shows it well too.
func renderTable(rows []row) string {
	cells := [][]string{{"row", "contender", "median", "min – max", "unit", "÷ raw", "afar ÷ it", "others' CPU"}}
	for _, r := range rows {
		name, others := r.name, r.others.String()
		for _, c := range r.runs {
			line := append([]string{name, c.contender}, r.cells(c)...)
			cells = append(cells, append(line, others))
			name, others = "", ""
		}
	}
	return alignTable(cells)
}

// cells gives the columns from "median" to "afar ÷ it" of one contender in row r.
func (r row) cells(c runs) []string {
	if c.err != nil {
		reason := "failed"
		if errors.Is(c.err, errAbsent) {
			reason = "absent"
		}
		return []string{reason, "", r.unit, "", ""}
	}
	middle, ok := median(c.values)
	if !ok {
		return []string{"–", "", r.unit, "", ""}
	}
	low, high := c.values[0], c.values[0]
	for _, v := range c.values {
		low, high = min(low, v), max(high, v)
	}
	ratio := func(a, b []float64) string {
		if m, ok := median(ratios(a, b)); ok {
			return number(m)
		}
		return "–"
	}
	return []string{
		number(middle), number(low) + " – " + number(high), r.unit,
		ratio(c.values, r.values(nameRaw)), ratio(r.values(nameAfar), c.values),
	}
}

// alignTable writes cells, the first line of which is the heading; the first two columns hold words.
func alignTable(cells [][]string) string {
	widths := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, line := range cells {
		for i, cell := range line {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < 2 || i == 4 {
				b.WriteString("| " + cell + space + " ")
			} else {
				b.WriteString("| " + space + cell + " ")
			}
		}
		b.WriteString("|\n")
		if n == 0 {
			for i, width := range widths {
				rule := strings.Repeat("-", width)
				if i < 2 || i == 4 {
					b.WriteString("| " + rule + " ")
				} else {
					b.WriteString("| " + rule[1:] + ": ")
				}
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}

// renderReport gives the whole of RESULTS.md.
func renderReport(rows []row, s *session) string {
	var b strings.Builder
	b.WriteString("# Benchmark results\n\n")
	b.WriteString("Written by `cd bench && go run .`; edit `NOTES.md`, not this file.\n\n")
	writeMachine(&b, s)
	b.WriteString("\nMedians of the rounds; the contenders of a row take turns. Ratios are medians of the ratios within one round; for\n" +
		"times, sizes and heaps less is better. \"raw\" is the bare transport, two pipes to a copy of this binary. Others' CPU is the\n" +
		"share of the machine's processor time that went to unrelated processes meanwhile: a row with much of it says little;\n" +
		"with -retries the least disturbed of several runs of a row is kept.\n\n")
	b.WriteString(renderTable(rows))
	b.WriteString(renderTargets(rows))
	b.WriteString("\n" + notes)
	return b.String()
}

// renderTargets gives a short section for every row: what it is, what it should reach and what it did.
func renderTargets(rows []row) string {
	var b strings.Builder
	b.WriteString("\n## Targets\n")
	for _, r := range rows {
		writeTargets(&b, r)
	}
	return b.String()
}

func writeTargets(b *strings.Builder, r row) {
	fmt.Fprintf(b, "\n### %s: %s\n\n", r.name, r.title)
	verdicts := r.judge()
	if len(verdicts) == 0 {
		b.WriteString("- target: none; for comparison\n")
	}
	for _, v := range verdicts {
		fmt.Fprintf(b, "- target: %s; reached: %s\n", v.target.text(r.unit), v.text(r.unit))
	}
	for _, c := range r.runs {
		if c.err != nil {
			fmt.Fprintf(b, "- %s: %s\n", c.contender, strings.ReplaceAll(c.err.Error(), "\n", "; "))
		}
	}
}
