package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/proctest"
)

// asProgram in the environment has this binary be the program, so that tests run it in processes
// of its own, with the race detector.
const asProgram = "NIGHTLY_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	afar.Main()
	goleak.VerifyTestMain(m)
}

// everySecond has nights follow each other quickly.
const everySecond = "-cron=* * * * * *"

// Two schedulers and two workers in one process: one report at each of the times.
func TestProgram(t *testing.T) {
	dir, reports := directory(t)
	stdout := newOutput()
	p := start(t, stdout, everySecond, dir, reports)
	stdout.await(t, "wrote ", 3)
	if stderr, status := p.end(t, os.Interrupt); status != 0 || stderr != "" {
		t.Errorf("exit status %d, stderr %q", status, stderr)
	}
	checkReports(t, dir, reports, stdout.await(t, "wrote ", 3))
}

// The same on two hosts. When one of them is killed, the other goes on alone.
func TestHosts(t *testing.T) {
	broker := "-broker=" + proctest.Redis(t)
	dir, reports := directory(t)
	stdout := newOutput()
	one := start(t, stdout, broker, everySecond, dir, reports)
	other := start(t, stdout, broker, everySecond, dir, reports)
	stdout.await(t, "wrote ", 3)
	one.end(t, os.Kill)
	n := len(stdout.await(t, "wrote ", 3))
	stdout.await(t, "wrote ", n+2)
	if stderr, status := other.end(t, os.Interrupt); status != 0 || stderr != "" {
		t.Errorf("exit status %d, stderr %q", status, stderr)
	}
	checkReports(t, dir, reports, stdout.await(t, "wrote ", n+2))
}

// directory is one to be reported on, and one for the reports.
func directory(t *testing.T) (dir, reports string) {
	t.Helper()
	root := t.TempDir()
	dir = filepath.Join(root, "of")
	for name, text := range map[string]string{"a": "12345", "sub/b": "123", "sub/c": ""} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, filepath.Join(root, "reports")
}

// checkReports checks that every report was written once, and is of a time of its own.
func checkReports(t *testing.T, dir, reports string, wrote []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, line := range wrote {
		path := strings.TrimPrefix(line, "wrote ")
		if seen[path] || !regexp.MustCompile(`^cron-nightly-\d{8}T\d{6}Z\.txt$`).MatchString(filepath.Base(path)) {
			t.Errorf("%s: written twice, or not what was expected", path)
		}
		seen[path] = true
		text, err := os.ReadFile(path)
		if want := fmt.Sprintf("%s: 3 files, 8 bytes\n", dir); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
	files, err := os.ReadDir(reports)
	if err != nil || len(files) < len(seen) || len(files) > len(seen)+1 { // who was killed may have written one and not said so
		t.Errorf("%d reports, but %d files: %v", len(seen), len(files), err)
	}
}

// What is wrong is said at once, and not in the night.
func TestBadInput(t *testing.T) {
	dir, reports := directory(t)
	for want, args := range map[string][]string{
		"name a directory":       {dir},
		"at some time":           {"-cron=at some time", dir, reports},
		`the scheme "http"`:      {"-broker=http://localhost", dir, reports},
		"flag provided but not ": {"-often"},
	} {
		var stderr bytes.Buffer
		if err := run(within(t), args, &stderr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", args, err, want)
		}
	}
}

// within is for as long as something in a test may take.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
