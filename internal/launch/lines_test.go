package launch

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	full := strings.Repeat("x", lineMax)
	for _, test := range []struct {
		name, in string
		want     []string
	}{
		{"nothing", "", nil},
		{"one", "a\n", []string{"a"}},
		{"unterminated", "a\nb", []string{"a", "b"}},
		{"empty lines", "\n\na\n\n", []string{"", "", "a", ""}},
		{"exactly the maximum", full + "\n" + full, []string{full, full}},
		{"one more", full + "y\nz", []string{full, "y", "z"}},
		{"twice the maximum", full + full + "\n\n", []string{full, full, ""}},
		{"three times and more", full + full + full + "y\n", []string{full, full, full, "y"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, most := range []int{1, 7, 4096, 1 << 20} {
				if most == 1 && len(test.in) > 1000 {
					continue
				}
				var got []string
				l := lines{deliver: func(line []byte) { got = append(got, string(line)) }}
				for in := test.in; in != ""; {
					n := copy(l.space()[:min(len(l.space()), 1+rand.IntN(most))], in)
					l.filled(n)
					in = in[n:]
				}
				l.end()
				if !slices.Equal(got, test.want) {
					t.Errorf("pieces of %d: %d lines, want %d", most, len(got), len(test.want))
				}
			}
		})
	}
}
