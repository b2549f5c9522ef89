package member_test

import (
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/afar-go/afar/internal/member"
)

type fields12 struct{ A, B, C, D, E, F, G, H, I, J, K, L int }
type fields14 struct {
	fields12
	M, N int
}
type fewMethods struct{ fields14 }

func (fewMethods) One()                        {}
func (*fewMethods) Two(...any) ([]byte, error) { return nil, nil }

func TestOffers(t *testing.T) {
	for typ, want := range map[reflect.Type]string{
		reflect.TypeFor[*int]():      "no members",
		reflect.TypeFor[**rich]():    "no members",
		reflect.TypeFor[*error]():    "no members",
		reflect.TypeFor[*struct{}](): "no members",
		reflect.TypeFor[*nobody]():   "methods String() string",
		reflect.TypeFor[*point]():    "fields X int, Y int",
		reflect.TypeFor[*level]():    "methods Next() member_test.level, Plus(member_test.level) member_test.level, Up() member_test.level",
		reflect.TypeFor[*fields12](): "fields A int, B int, C int, D int, E int, F int, G int, H int, I int, J int, K int, L int",
		reflect.TypeFor[*fields14](): "fields A int, B int, C int, D int, E int, F int, G int, H int, I int, J int, K int, L int and 2 more",
		reflect.TypeFor[*fewMethods](): "methods One(), Two(...any) ([]byte, error); " +
			"fields A int, B int, C int, D int, E int, F int, G int, H int, I int, J int and 4 more",
	} {
		if got := member.Of(typ).Offers(); got != want {
			t.Errorf("%v offers %s, want %s", typ, got, want)
		}
	}
	offers := of[rich]().Offers()
	for _, name := range []string{"Watch", "Pair", "Chan", "total", "hidden"} {
		if strings.Contains(offers, name) {
			t.Errorf("%s is offered: %s", name, offers)
		}
	}
	for _, part := range []string{"methods Add(int) (int, error), Ask(context.Context) any, Both() (string, error), Check() error, ",
		" more; fields Any any, Array [2]int, Big big.Int, Data []byte, Err error, Index map[string]int and ", " more"} {
		if !strings.Contains(offers, part) {
			t.Errorf("rich offers %s, without %s", offers, part)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, x := range []struct {
		err  member.Error
		want string
	}{
		{member.Error{Type: "a.T", Member: "x"}, `a.T has no member "x"`},
		{member.Error{Type: "a.T", Member: "x", Reason: "did you mean X?", Offers: "fields X int"},
			`a.T has no member "x": did you mean X? It offers fields X int`},
		{member.Error{Type: "a.T", Member: "X", Signature: "X int", Reason: "cannot be set", Err: errOwn, Offers: "fields X int"},
			`a.T.X int: cannot be set: the method's own. a.T offers fields X int`},
		{member.Error{Type: "a.T", Member: "X", Signature: "X int", Err: errOwn}, `a.T.X int: the method's own`},
	} {
		if got := x.err.Error(); got != x.want || x.err.Unwrap() != x.err.Err {
			t.Errorf("%s\nwant %s", got, x.want)
		}
	}
}

// A program that is linked with the package and does not use it has nothing of it, and loses the methods that
// nobody calls.
func TestLinkerDropsUnused(t *testing.T) {
	symbols := func(program string) string {
		out := filepath.Join(t.TempDir(), "program")
		if text, err := exec.Command("go", "build", "-o", out, "./testdata/"+program).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		text, err := exec.Command("go", "tool", "nm", out).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return string(text)
	}
	const pkg, method = "/internal/member.", "main.(*object).NobodyCallsThis"
	if s := symbols("used"); !strings.Contains(s, pkg) || !strings.Contains(s, method) {
		t.Error("a program that uses the package lacks it or a method that it needs: this test proves nothing")
	}
	s := symbols("unused")
	for line := range strings.Lines(s) {
		if strings.Contains(line, pkg) || strings.Contains(line, method) {
			t.Errorf("a program that does not use the package has %s", strings.TrimSpace(line))
		}
	}
}
