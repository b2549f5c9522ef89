package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/trust"
)

// Mistakes are told as such.
func TestQueueUsage(t *testing.T) {
	url := inMemory(t)
	home(t)
	for _, c := range []struct {
		env, line string
		code      int
		says      string
	}{
		{"", "--help", exitOK, "Exit codes:"},
		{"", "", exitUsage, "needs a command"},
		{"", "fly", exitUsage, `unknown command "fly"`},
		{"", "stats", exitUsage, queueVariable},
		{"", "stats thumbs", exitUsage, `"thumbs" is no queue, which is named like redis://`},
		{"", "stats mem://here", exitUsage, "which queue of mem://here?"},
		{"", "stats http://u:s3cret@here#a", exitUsage, `no broker of the scheme "http"; known are mem, nats, redis`},
		{"http://u:s3cret@here#a", "stats", exitUsage, queueVariable + `: there is no broker of the scheme "http"`},
		{"u:s3cret@here#a", "stats", exitUsage, queueVariable + ": a queue is named like"},
		{"", "stats redis://u:s3#cret@here#a", exitUsage, "%23"},
		{"", "stats redis://u:s3cret@here/x#a", exitUnreachable, "redis://here/x: "},
		{"", "stats redis://u:s3cret@here?s3cret_token=s3cret#a", exitUnreachable, "redis://here: "},
		{url, "ls now", exitUsage, "too many"},
		{url + "#a", "stats now", exitUsage, "too many"},
		{url + "#a", "stats -within -1s", exitUsage, "negative"},
		{url + "#a b", "submit -- true", exitFailed, "a space"},
		{url + "#a", "submit", exitUsage, "needs a command, behind --"},
		{url + "#a", "submit -env A -- true", exitUsage, `--env is NAME=value, not "A"`},
		{url + "#a", "submit -priority urgent -- true", exitUsage, `"urgent"`},
		{url + "#a", "submit -delay -1s -- true", exitUsage, "negative"},
		{url + "#a", "submit -at soon -- true", exitUsage, `"soon"`},
		{url + "#a", "submit -at 03:00 -delay 1s -- true", exitUsage, "both --at and --delay"},
		{url + "#a", "submit -attempts 0 -- true", exitUsage, "at least 1"},
		{url + "#a", "submit -retention 1ms -- true", exitUsage, "at least 1s"},
		{url + "#a", "submit -stdin /nowhere -- true", exitFailed, "/nowhere"},
		{url + "#a", "submit -key /nowhere -- true", exitFailed, "/nowhere"},
		{url + "#a", "submit ls -la", exitUsage, "la"},
		{url + "#a", "result", exitUsage, "the ID of one task"},
		{url + "#a", "result a b", exitUsage, "the ID of one task"},
		{url + "#a", "logs", exitUsage, "the ID of one task"},
		{url + "#a", "cancel", exitUsage, "needs the IDs"},
		{url + "#a", "requeue", exitUsage, "or --all"},
		{url + "#a", "drop -all x", exitUsage, "for no IDs"},
		{url + "#a", "watch -every 0s", exitUsage, "--every"},
		{url + "#a", "watch -count -1", exitUsage, "--count"},
		{url + "#a", "purge", exitUnknown, "there is no queue"},
		{url + "#a", "pause", exitUnknown, "there is no queue"},
		{url + "#a", "requeue --all", exitUnknown, "there is no queue"},
		{url + "#a", "dead", exitUnknown, "there is no queue"},
		{"", "stats redis://u:s3cret@127.0.0.1:1#a", exitUnreachable, "redis://127.0.0.1:1: "},
		{"", "stats rediss://u:s3cret@127.0.0.1:1#a", exitUnreachable, "rediss://127.0.0.1:1: "},
		{"", "stats nats://u:s3cret@127.0.0.1:1#a", exitUnreachable, "nats://127.0.0.1:1: "},
		{"", "stats nats://s3cret@127.0.0.1:1,nats://s3cret@127.0.0.1:2#a", exitUnreachable, "nats://127.0.0.1:1,127.0.0.1:2: "},
		{"", "stats tls://u:s3cret@127.0.0.1:1?ca=/nowhere#a", exitFailed, "/nowhere"},
	} {
		t.Setenv(queueVariable, c.env)
		t.Setenv(trust.KeyVariable, "")
		s := typed("", append([]string{"queue"}, strings.Fields(c.line)...)...)
		if c.env == url+"#a b" {
			s = typed("", "queue", "submit", "--", "true")
		}
		if s.code != c.code {
			t.Errorf("afar queue %s: exit code %d, want %d: %s%s", c.line, s.code, c.code, s.out, s.errs)
		}
		contains(t, s.out+s.errs, c.says)
		if strings.Contains(s.out+s.errs, "s3cret") || strings.Contains(s.out+s.errs, "cret@") {
			t.Errorf("afar queue %s tells a password: %s", c.line, s.errs)
		}
	}
}

// A broker that does not answer is not waited for longer than was said.
func TestQueueWithin(t *testing.T) {
	home(t)
	brokers["mute"] = func(ctx context.Context, _ string) (opened, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	defer delete(brokers, "mute")
	s := typed("", "queue", "ls", "--within", "1ms", "mute://u:s3cret@here")
	if want := "afar: mute://here: no answer within 1ms: context deadline exceeded\n"; s.code != exitUnreachable || s.errs != want {
		t.Errorf("it says %+v", s)
	}
}

// Of a list each answer has to come in time, however long the list is looked at.
func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{place: &place{shown: "mute://here"}, within: time.Second}
		all := func(ctx context.Context) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				if yield(1, nil) && yield(2, ctx.Err()) {
					<-ctx.Done()
					yield(0, context.Cause(ctx))
				}
			}
		}
		var got []int
		var last error
		for n, err := range answers(t.Context(), d, all) {
			got, last = append(got, n), err
			time.Sleep(time.Hour)
		}
		if late, ok := errors.AsType[*brokerError](last); !ok || !slices.Equal(got, []int{1, 2, 0}) || exitCode(late) != exitUnreachable {
			t.Errorf("it gives %v, then %v", got, last)
		}
	})
}

// Commands complete themselves.
func TestQueueCompletion(t *testing.T) {
	s := typed("", "queue", "--generate-shell-completion")
	contains(t, s.out, "stats", "requeue", "watch")
}

// Signals end the waiting, but no task.
func TestQueueInterrupted(t *testing.T) {
	s := onStage(t, onBroker(t))
	s.types(exitOK, "submit -id a -delay 1h -- true")
	watch := start(t, nil, "queue", "watch", "-every", "1ms", "-json")
	contains(t, watch.line(), `"queue":"thumbs"`)
	must(t, watch.cmd.Process.Signal(syscall.SIGINT))
	if end := watch.end(); end.code != exitOK {
		t.Errorf("watch ended with %d: %s", end.code, end.errs)
	}
	submit := start(t, nil, "queue", "submit", "-wait", "-id", "b", "--", "cat")
	for waiting := false; !waiting; {
		n := asks[numbers](s, exitOK, "stats")
		waiting = n.Waiting == 1
	}
	must(t, submit.cmd.Process.Signal(syscall.SIGTERM))
	end := submit.end()
	if end.code != 128+int(syscall.SIGTERM) {
		t.Errorf("submit ended with %d: %s", end.code, end.errs)
	}
	contains(t, end.errs, "interrupted: terminated", "the task goes on", "afar queue result '"+s.place.String()+"' b")
	s.types(exitPending, "result b")
}

// Times of day are the next ones.
func TestMoment(t *testing.T) {
	now := time.Date(2026, 12, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"12:00": "2027-01-01T12:00:00Z", "12:01": "2026-12-31T12:01:00Z", "03:04:05": "2027-01-01T03:04:05Z",
		"2027-02-03": "2027-02-03T00:00:00Z", "2027-02-03 04:05": "2027-02-03T04:05:00Z",
		"2027-02-03 04:05:06": "2027-02-03T04:05:06Z", "2027-02-03T04:05:06+01:00": "2027-02-03T04:05:06+01:00",
	} {
		if at, err := moment(text, now); err != nil || at.Format(time.RFC3339) != want {
			t.Errorf("%s is %v (%v), not %s", text, at, err, want)
		}
	}
}

// What is shown of a URL has nothing that is secret in it.
func TestPlace(t *testing.T) {
	for text, want := range map[string]string{
		"redis://host:6379/12#thumbs":                         "redis://host:6379/12#thumbs",
		"redis://me:secret@host/1?sentinel_password=hush#a#b": "redis://host/1#a#b",
		"nats://token@host:4222,me:p%40ss@other#q":            "nats://host:4222,other#q",
		"nats://me:a@b:c@host,nats://x:y@other#q":             "nats://host,other#q",
		"unix://:secret@/run/s?db=1":                          "unix:///run/s",
	} {
		p, err := parsePlace(text)
		if err != nil || p.String() != want {
			t.Errorf("%s is shown as %v (%v), not %s", text, p, err, want)
			continue
		}
		all := p.discreet(errors.New(p.url)).Error()
		for _, secret := range []string{"secret", "hush", "token", "p%40ss", "p@ss", "a@b:c", "x:y"} {
			if strings.Contains(all, secret) {
				t.Errorf("an error says %s", all)
			}
		}
	}
	if text := fmt.Sprint((&place{}).discreet(nil)); text != "<nil>" {
		t.Error(text)
	}
}
