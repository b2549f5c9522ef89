package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/afar-go/afar"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	afar.Main()
	goleak.VerifyTestMain(m)
}

// TestCountWhileWorkersAreKilled counts 10,000 files, kills a random worker
// again and again meanwhile, and expects what a serial count gives.
func TestCountWhileWorkersAreKilled(t *testing.T) {
	const (
		fileCount = 10_000
		killEvery = 250 // files
	)
	roots := []string{writeTree(t, fileCount)}
	quiet := afar.Config{Log: slog.DiscardHandler} // the pool warns of each lost worker
	pool, err := quiet.Open(t.Context(), "local:3")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()

	counted, killed := 0, 0
	kill := func() {
		counted++
		gateways := pool.Gateways()
		if counted%killEvery != 0 || len(gateways) == 0 {
			return
		}
		// A worker that is dead already is as good as killed.
		_ = gateways[rand.IntN(len(gateways))].Kill()
		killed++
	}
	// A file may be unlucky more often than the three times that it is tried
	// by default.
	stubborn := afar.With(pool, afar.Policy{MaxAttempts: 100})
	sum := countAll(t.Context(), stubborn, files(roots), kill)

	t.Logf("%d files counted, %d workers killed", sum.files, killed)
	if killed < fileCount/killEvery/2 {
		t.Errorf("only %d workers were killed, so this shows little", killed)
	}
	if err := sum.failure(); err != nil {
		t.Error(err)
	}
	if sum.files != fileCount {
		t.Errorf("counted %d files, not %d", sum.files, fileCount)
	}
	var out bytes.Buffer
	if err := verify(t.Context(), sum, roots, &out); err != nil {
		t.Errorf("%v\n%.2000s", err, out.String())
	}
}

// writeTree makes n small text files in a directory of their own, a hundred to
// a folder, and returns the directory.
func writeTree(t *testing.T, n int) string {
	t.Helper()
	words := strings.Fields("afar Gateway POOL worker naïve Ünïcode 日本 x86 42 call target runner")
	root := t.TempDir()
	for i := range n {
		folder := filepath.Join(root, fmt.Sprint(i/100))
		if i%100 == 0 {
			if err := os.Mkdir(folder, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		var text strings.Builder
		for range 20 + i%50 {
			text.WriteString(words[rand.IntN(len(words))] + ", ")
		}
		fmt.Fprintf(&text, "file%d\n", i)
		write(t, filepath.Join(folder, fmt.Sprintf("%d.txt", i)), text.String())
	}
	return root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestProgram builds the program, runs it as a user does, and reads what it
// prints and its exit status.
func TestProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "wordcount.exe")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tree := t.TempDir()
	write(t, filepath.Join(tree, "a.txt"), "One two, TWO; three three\nthree")
	write(t, filepath.Join(tree, "b"), "Ångström ångström—three")
	write(t, filepath.Join(tree, "c.bin"), "one\x00two")

	t.Run("verified", func(t *testing.T) {
		stdout, stderr, status := execute(t, program, "-on", "local:2", "-on", "local:1,local:1", "-top", "3", "-verify", tree)
		if status != 0 || stderr != "" {
			t.Errorf("exit status %d, stderr %q", status, stderr)
		}
		summary, rest, _ := strings.Cut(stdout, "\n")
		if !strings.HasPrefix(summary, "2 files, 60 bytes, 9 words (4 different) in ") ||
			!strings.HasSuffix(summary, "by 4 workers; 1 binary files skipped") {
			t.Errorf("summary: %s", summary)
		}
		const want = `
         4 three
         2 two
         2 ångström
verified: a serial count gives the same
`
		if rest != want[1:] {
			t.Errorf("printed\n%s", rest)
		}
	})

	t.Run("a file that is not there", func(t *testing.T) {
		gone := filepath.Join(tree, "gone")
		stdout, stderr, status := execute(t, program, "-on", "local:1", tree, gone)
		if status != 1 || !strings.Contains(stderr, "1 files could not be read:\n"+gone) {
			t.Errorf("exit status %d, stderr %q", status, stderr)
		}
		if !strings.HasPrefix(stdout, "2 files, ") {
			t.Errorf("the others are not counted: %q", stdout)
		}
	})

	t.Run("unknown target", func(t *testing.T) {
		_, stderr, status := execute(t, program, "-on", "nowhere:1", tree)
		if status != 1 || !strings.Contains(stderr, "nowhere") {
			t.Errorf("exit status %d, stderr %q", status, stderr)
		}
	})
}

// execute runs a program to its end.
func execute(t *testing.T, program string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestCountWords(t *testing.T) {
	for text, want := range map[string]map[string]int64{
		"":                  {},
		" \n\t.-":           {},
		"a b A":             {"a": 2, "b": 1},
		"x86_64 it's":       {"x86": 1, "64": 1, "it": 1, "s": 1},
		"ÉCOLE école 日本、日本": {"école": 2, "日本": 2},
		"cut\xffhere":       {"cut": 1, "here": 1},
		"٤٢ end":            {"٤٢": 1, "end": 1},
	} {
		got, err := countWords(t.Context(), strings.NewReader(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if fmt.Sprint(got.Words) != fmt.Sprint(want) || got.Bytes != int64(len(text)) {
			t.Errorf("%q: %v, %d bytes, want %v", text, got.Words, got.Bytes, want)
		}
	}
}

func TestCountWordsStopsWhenCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := countWords(ctx, strings.NewReader("some words")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestDiff shows that -verify sees every kind of difference.
func TestDiff(t *testing.T) {
	sum, want := newTally(), newTally()
	sum.add("a", fileCount{Bytes: 7, Words: map[string]int64{"one": 1, "two": 1}}, nil)
	want.add("a", fileCount{Bytes: 7, Words: map[string]int64{"one": 1, "two": 1}}, nil)
	if lines := sum.diff(want); len(lines) != 0 {
		t.Errorf("equal tallies differ: %q", lines)
	}
	sum.add("b", fileCount{Bytes: 3, Words: map[string]int64{"one": 1}}, nil)
	want.add("c", fileCount{Binary: true}, nil)
	want.add("d", fileCount{}, os.ErrNotExist)
	got := sum.diff(want)
	if !slices.Equal(got, []string{
		"files: 2, but 1 in a serial count",
		"binary files: 0, but 1 in a serial count",
		"files that could not be read: 0, but 1 in a serial count",
		"bytes: 10, but 7 in a serial count",
		`"one": 2, but 1 in a serial count`,
	}) {
		t.Errorf("differences: %q", got)
	}
}
