package launch

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func excerptOf(all []string) *excerpt {
	x := &excerpt{}
	for _, line := range all {
		x.add([]byte(line))
	}
	return x
}

func numbered(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(prefix, i))
	}
	return all
}

func join(parts ...[]string) (all []string) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func TestExcerpt(t *testing.T) {
	one := func(s string) []string { return []string{s} }
	a, b, dots := numbered("a", 300), numbered("b", 300), one("…")
	for _, test := range []struct {
		name     string
		in, want []string
		outOfMem bool
	}{
		{name: "nothing"},
		{name: "few lines", in: a[:3], want: a[:3]},
		{name: "an empty line", in: one(""), want: one("")},
		{name: "last 40", in: a, want: a[260:]},
		{name: "crash in the tail", in: join(a, one("panic: x"), b[:39]), want: join(one("panic: x"), b[:39])},
		{name: "crash overlaps the tail", in: join(a, one("panic: x"), b[:40]), want: join(one("panic: x"), b[:40])},
		{name: "head ends where the tail begins", in: join(a, one("panic: x"), b[:55]), want: join(one("panic: x"), b[:55])},
		{name: "one line between", in: join(a, one("panic: x"), b[:56]), want: join(one("panic: x"), b[:15], dots, b[16:56])},
		{name: "long crash", in: join(a, one("fatal error: x"), b), want: join(one("fatal error: x"), b[:15], dots, b[260:])},
		{name: "signal", in: join(one("SIGSEGV: segmentation violation"), b), want: join(one("SIGSEGV: segmentation violation"), b[:15], dots, b[260:])},
		{name: "two causes of one crash", in: join(one("unexpected fault address 0x1"), one("fatal error: fault"), b),
			want: join(one("unexpected fault address 0x1"), one("fatal error: fault"), b[:14], dots, b[260:])},
		{name: "the threads of a crash", in: join(one("panic: x"), b, one("SIGQUIT: quit"), a), want: join(one("panic: x"), b[:15], dots, a[260:])},
		{name: "a recovered panic long before", in: join(one("panic: old"), a, one("panic: new"), b), want: join(one("panic: new"), b[:15], dots, b[260:])},
		{name: "not a crash", in: join(one("dont panic: x"), one("SIGNAL x"), a), want: a[260:]},
		{name: "runtime out of memory", in: join(one("runtime: out of memory: cannot allocate 8-byte block"), one("fatal error: out of memory")),
			want: join(one("runtime: out of memory: cannot allocate 8-byte block"), one("fatal error: out of memory")), outOfMem: true},
		{name: "runtime cannot allocate", in: join(one("fatal error: runtime: cannot allocate memory"), b),
			want: join(one("fatal error: runtime: cannot allocate memory"), b[:15], dots, b[260:]), outOfMem: true},
		{name: "a program's own words", in: one("panic: cannot allocate memory"), want: one("panic: cannot allocate memory")},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := excerptOf(test.in)
			if got, want := x.String(), strings.Join(test.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if got := x.outOfMemory(); got != test.outOfMem {
				t.Errorf("outOfMemory %v", got)
			}
		})
	}
}

func TestExcerptIsBounded(t *testing.T) {
	long := strings.Repeat("é", 10_000)
	for _, in := range [][]string{
		{long},
		{"x", long},
		{long, "x"},
		join([]string{"panic: " + long}, numbered("a", 100)),
		join([]string{"panic: x", long, long, long}, numbered(long[:300], 100)),
	} {
		x := excerptOf(in)
		got := x.String()
		if len(got) > excerptBytes || len(got) < excerptBytes/4 && len(in) < 4 || !utf8.ValidString(got) {
			t.Errorf("%d bytes of %.20q", len(got), in)
		}
		if strings.HasPrefix(in[0], "panic: ") != strings.HasPrefix(got, "panic: ") {
			t.Errorf("begins with %.20q", got)
		}
		if cap(x.tail) > 3*excerptBytes || cap(x.head) > 2*headBytes {
			t.Errorf("holds %d + %d bytes", cap(x.tail), cap(x.head))
		}
	}
}

func TestExitString(t *testing.T) {
	for want, exit := range map[string]Exit{
		"exit status 0":                  {},
		"exit status 3":                  {Code: 3, Stderr: "x"},
		"exit status 2 (out of memory)":  {Code: 2, OutOfMemory: true},
		"signal: killed":                 {Code: -1, Signal: "killed"},
		"signal: killed (out of memory)": {Code: -1, Signal: "killed", OutOfMemory: true},
	} {
		if got := exit.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
