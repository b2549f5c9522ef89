package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// fake is a contender that logs its life and gives value.
func fake(name string, log *[]string, value float64, measureErr error) contender {
	return contender{name, func(context.Context, *session) (*trial, error) {
		return &trial{
			measure: func(context.Context) ([]float64, error) {
				*log = append(*log, name)
				return one(value, measureErr)
			},
			close: func() error {
				*log = append(*log, name+" closed")
				return nil
			},
		}, nil
	}}
}

// TestRoundsAreInterleaved also checks that the warm-up round is not counted, and that every trial is closed.
func TestRoundsAreInterleaved(t *testing.T) {
	var log []string
	e := experiment{
		figures:    []figure{{name: "fake"}},
		contenders: []contender{fake("a", &log, 1, nil), fake("b", &log, 2, nil)},
	}
	rows, err := e.run(t.Context(), &session{rounds: 2}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if want := "a b a b a b a closed b closed"; strings.Join(log, " ") != want {
		t.Errorf("the order was %q, not %q", strings.Join(log, " "), want)
	}
	if got := rows[0].runs[1].values; !slices.Equal(got, []float64{2, 2}) {
		t.Errorf("b has values %v", got)
	}
}

// TestFailureIsReported checks that a contender's failure makes the run fail, and does not stop the others.
func TestFailureIsReported(t *testing.T) {
	broken := errors.New("broken")
	cannotOpen := contender{"x", func(context.Context, *session) (*trial, error) { return nil, broken }}
	var log []string
	for _, c := range []contender{
		cannotOpen,
		fake("x", &log, 1, broken),
		fake("x", &log, 0, nil),
		fake("x", &log, -1, nil),
		fake("x", &log, math.NaN(), nil),
		fake("x", &log, math.Inf(1), nil),
	} {
		e := experiment{figures: []figure{{name: "fake"}}, contenders: []contender{c, fake("sound", &log, 1, nil)}}
		rows, err := e.run(t.Context(), &session{smoke: true, rounds: 1}, io.Discard)
		if err == nil {
			t.Error("a failure was not reported")
		}
		if len(rows[0].values("sound")) != 1 || rows[0].values("x") != nil {
			t.Errorf("the row is %+v", rows[0])
		}
	}
}

// TestRetriesEndWithAFailure checks that a failure is never measured again until it passes.
func TestRetriesEndWithAFailure(t *testing.T) {
	var log []string
	e := experiment{figures: []figure{{name: "fake"}}, contenders: []contender{fake("a", &log, 0, nil)}}
	if _, err := e.runQuietly(t.Context(), &session{smoke: true, rounds: 1}, 5, io.Discard); err == nil {
		t.Error("the failure was lost")
	}
	if want := "a a closed"; strings.Join(log, " ") != want {
		t.Errorf("the order was %q, not %q", strings.Join(log, " "), want)
	}
}

// TestAbsenceIsNoFailure checks what happens where python3 is missing.
func TestAbsenceIsNoFailure(t *testing.T) {
	t.Setenv("PATH", "")
	rows, err := experiment{
		figures:    []figure{{name: "fake"}},
		contenders: []contender{{nameImap1, pythonMap(pythonRequest{ordered: true, chunk: 1})}},
	}.run(t.Context(), smokeSession(t), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(renderTable(rows), "absent") {
		t.Errorf("the table does not say that the contender is absent:\n%s", renderTable(rows))
	}
}

// TestWrongFigureCount checks that a value too few is not shown as something else.
func TestWrongFigureCount(t *testing.T) {
	if err := checkValues([]float64{1}, 2); err == nil {
		t.Error("one value passed for two figures")
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		names string
		want  int
		fails bool
	}{
		{"", len(experiments()), false},
		{"serial", 1, false},
		{"rss, start", 1, false},
		{"serial,heap-growth", 2, false},
		{"serial,nothing", 0, true},
	} {
		got, err := choose(experiments(), c.names)
		if (err != nil) != c.fails || err == nil && len(got) != c.want {
			t.Errorf("choose(%q) gave %d experiments and %v", c.names, len(got), err)
		}
	}
}

func TestOnly(t *testing.T) {
	for _, c := range []struct {
		pattern string
		left    int
		fails   bool
	}{
		{"", len(experiments()), false},
		{"^afar$", len(experiments()), false},
		{"^Python xmlrpc", 2, false},
		{"nobody", 0, true},
		{"(", 0, true},
	} {
		got, err := only(experiments(), c.pattern)
		if (err != nil) != c.fails || len(got) != c.left {
			t.Errorf("only(%q) gave %d experiments and %v", c.pattern, len(got), err)
		}
	}
}

// TestExperimentsAreWellFormed checks names, and that what targets divide by takes part.
func TestExperimentsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range experiments() {
		names := map[string]bool{}
		for _, c := range e.contenders {
			if names[c.name] {
				t.Errorf("%s has two contenders named %q", e.figures[0].name, c.name)
			}
			names[c.name] = true
		}
		if !names[nameAfar] || !names[nameRaw] && !names[nameTrue] && !names[nameCat] && !names[namePlainTCP] {
			t.Errorf("%s lacks afar or its limit", e.figures[0].name)
		}
		for _, f := range e.figures {
			if seen[f.name] {
				t.Errorf("two rows are named %q", f.name)
			}
			seen[f.name] = true
			for _, target := range f.targets {
				if target.over != "" && !names[target.over] || target.of != "" && !names[target.of] {
					t.Errorf("%s: a target speaks of %q or %q, which does not take part", f.name, target.over, target.of)
				}
			}
		}
	}
}

// TestBareContenders runs everything but afar and Python, to see that it is right and leaves nothing behind.
func TestBareContenders(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // Each server would end a second later under the race detector.
	m, err := newMark()
	if err != nil {
		t.Fatal(err)
	}
	s := smokeSession(t)
	for _, e := range experiments() {
		switch e.figures[0].name {
		case "start", "size", "ssh-cold": // These compile a program.
			continue
		}
		e.contenders = slices.DeleteFunc(slices.Clone(e.contenders), func(c contender) bool {
			return strings.HasPrefix(c.name, "afar") || strings.HasPrefix(c.name, "Python")
		})
		t.Run(fmt.Sprint(e.figures[0].name), func(t *testing.T) {
			if _, err := e.run(t.Context(), s, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	if err := errors.Join(s.end(), m.await()); err != nil {
		t.Error(err)
	}
}
