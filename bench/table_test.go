package main

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// sampleRow has a disturbance in its second round that hits everybody alike.
func sampleRow() row {
	return row{
		figure: figure{name: "sample", title: "a sample", unit: "calls/s", targets: []target{
			{over: nameRaw, bound: 0.5},
			{over: nameRaw, bound: 1, stretch: true},
			{bound: 100, atMost: true},
			{over: "rival", bound: 2},
			{over: nameRaw, more: true, bound: -300, atMost: true},
		}},
		runs: []runs{
			{contender: nameAfar, values: []float64{500, 50, 600}},
			{contender: nameRaw, values: []float64{1000, 100, 1000}},
			{contender: "rival", err: errors.New("broken")},
			{contender: "Python", err: errAbsent},
		},
	}
}

func TestJudge(t *testing.T) {
	got := sampleRow().judge()
	for i, want := range []struct {
		known, met bool
		text       string
	}{
		{true, true, "0.5× raw: yes"},
		{true, false, "0.5× raw: not yet"},
		{true, false, "500 calls/s: NO"},
		{false, false, "not measured"},
		{true, true, "raw + -400 calls/s: yes"},
	} {
		if v := got[i]; v.known != want.known || v.met != want.met || v.text("calls/s") != want.text {
			t.Errorf("verdict %d is %+v, %q", i, v, v.text("calls/s"))
		}
	}
}

func TestTargetText(t *testing.T) {
	for want, target := range map[string]target{
		"≥ 3× net/rpc":  {over: "net/rpc", bound: 3},
		"≤ 6 MiB":       {bound: 6, atMost: true},
		"then ≥ 1× raw": {over: nameRaw, bound: 1, stretch: true},
		"≥ 2M MiB":      {bound: 2e6},
		"≤ raw + 3 MiB": {over: nameRaw, more: true, bound: 3, atMost: true},
	} {
		if got := target.text("MiB"); got != want {
			t.Errorf("got %q, not %q", got, want)
		}
	}
}

// TestTable checks that every line has the same width and that the row's facts are there.
func TestTable(t *testing.T) {
	got := renderTable([]row{sampleRow()})
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if len(lines) != 6 {
		t.Fatalf("%d lines:\n%s", len(lines), got)
	}
	for _, line := range lines {
		if utf8.RuneCountInString(line) != utf8.RuneCountInString(lines[0]) {
			t.Errorf("%q is not as wide as the heading", line)
		}
	}
	for i, want := range []string{"500 |", "50 – 600", "0.5 |", "1000 |", "failed", "absent"} {
		if !strings.Contains(got, want) {
			t.Errorf("fact %d, %q, is missing in\n%s", i, want, got)
		}
	}
}

// TestReport checks that the report ends with the notes, word for word.
func TestReport(t *testing.T) {
	got := renderReport([]row{sampleRow()}, &session{rounds: 3})
	for _, want := range []string{"### sample: a sample", "- target: ≥ 0.5× raw; reached: 0.5× raw: yes", "- rival: broken", "rounds: 3"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if !strings.HasSuffix(got, notes) {
		t.Error("the notes are not at the end")
	}
}
