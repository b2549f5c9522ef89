package target

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/afar-go/afar/internal/reach"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Target{
		"local:3":                            {Process: true, Workers: 3},
		"inproc:":                            {},
		"local:?dir=/d&env.A=b&nice=-5":      {Process: true, Dir: "/d", Env: []string{"A=b"}, Nice: -5},
		"ssh://h":                            {Process: true, Remote: &reach.Address{Scheme: "ssh", Host: "h"}},
		"ssh://me@h:2222?workers=4":          {Process: true, Workers: 4, Remote: &reach.Address{Scheme: "ssh", User: "me", Host: "h", Port: "2222"}},
		"ssh://[fe80::1]:22?config=/c%20d":   {Process: true, Remote: &reach.Address{Scheme: "ssh", Host: "fe80::1", Port: "22", Config: "/c d"}},
		"tcp://h":                            {Process: true, Remote: &reach.Address{Scheme: "tcp", Host: "h", Network: "h:7227"}},
		"tcp://[::1]:1/":                     {Process: true, Remote: &reach.Address{Scheme: "tcp", Host: "::1", Network: "[::1]:1"}},
		"unix:/run/a.sock?workers=2":         {Process: true, Workers: 2, Remote: &reach.Address{Scheme: "unix", Network: "/run/a.sock"}},
		"unix:///run/a.sock":                 {Process: true, Remote: &reach.Address{Scheme: "unix", Network: "/run/a.sock"}},
		"exec:docker exec -i web1":           {Process: true, Remote: &reach.Address{Scheme: "exec", Command: []string{"docker", "exec", "-i", "web1"}}},
		"exec:a 'b c'  \"d \\\"e\" f\\ g ''": {Process: true, Remote: &reach.Address{Scheme: "exec", Command: []string{"a", "b c", `d "e`, "f g", ""}}},
		"exec:find? what?workers=2":          {Process: true, Workers: 2, Remote: &reach.Address{Scheme: "exec", Command: []string{"find?", "what"}}},
		"exec:what now?":                     {Process: true, Remote: &reach.Address{Scheme: "exec", Command: []string{"what", "now?"}}},
	} {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		want.Text, want.scheme = text, got.scheme
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, want %+v", text, *got, want)
		}
	}
}

// A port is a number that there is.
func TestPorts(t *testing.T) {
	for _, text := range []string{"tcp://h:65536", "tcp://h:0", "ssh://h:99999", "tcp://h:x"} {
		if got, err := Parse(text); err == nil || !strings.Contains(err.Error(), " port ") {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// Workers are named by their host, and counted over all targets.
func TestIDs(t *testing.T) {
	first := map[string]int{}
	var got []string
	for _, text := range []string{"ssh://me@h?workers=2", "local:1", "ssh://h:22?workers=1", "exec:sh?workers=1&id=x", "tcp://n?workers=2&id=y"} {
		target, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, target.IDs(first)...)
	}
	if want := []string{"h-1", "h-2", "local-1", "h-3", "x", "y-1", "y-2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
