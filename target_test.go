package afar_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/afar-go/afar"
)

// What is wrong with a target is said, and what would be right.
func TestTargetErrors(t *testing.T) {
	for _, test := range []struct {
		targets []string
		want    []string
	}{
		{nil, []string{"target"}},
		{[]string{""}, []string{`""`, "inproc", "local"}},
		{[]string{"ftp:2"}, []string{`"ftp:2"`, `"ftp"`, "inproc", "local"}},
		{[]string{"ssh:build1"}, []string{"needs a host", "ssh://host"}},
		{[]string{"ssh://"}, []string{"needs a host"}},
		{[]string{"ssh://-oProxyCommand=x"}, []string{"needs a host"}},
		{[]string{"ssh://-l@host"}, []string{`"-l"`, "user"}},
		{[]string{"ssh://user:secret@host"}, []string{"passwords"}},
		{[]string{"ssh://host/srv"}, []string{"nothing may follow the host", "dir="}},
		{[]string{"ssh://host?config="}, []string{"empty config"}},
		{[]string{"ssh://host?speed=9"}, []string{`"speed"`, "config", "workers"}},
		{[]string{"ssh://host:x"}, []string{`"ssh://host:x"`, "port"}},
		{[]string{"local:1?config=x"}, []string{`"config"`}},
		{[]string{"tcp://"}, []string{"needs a host"}},
		{[]string{"tcp://me@host"}, []string{"keys"}},
		{[]string{"unix:"}, []string{"path"}},
		{[]string{"exec:"}, []string{"command"}},
		{[]string{"exec:sh 'x"}, []string{"quote"}},
		{[]string{"exec:sh?workers=0"}, []string{`"0"`}},
		{[]string{"exec:/no/such/command"}, []string{"/no/such/command", "command not found"}},
		{[]string{"unix:/no/such/socket"}, []string{"/no/such/socket", "no such"}},
		{[]string{"local"}, []string{`"local"`}},
		{[]string{"local:two"}, []string{`"local:two"`, `"two"`, "from 1 to"}},
		{[]string{"local:0"}, []string{`"0"`, "from 1 to"}},
		{[]string{"local:-1"}, []string{`"-1"`, "from 1 to"}},
		{[]string{"local:1000000"}, []string{`"1000000"`, "from 1 to"}},
		{[]string{"local:2?workers=3"}, []string{"2 workers", "workers=3", "contradict"}},
		{[]string{"local:2?speed=9"}, []string{`"speed"`, "dir", "env.NAME", "id", "nice", "workers"}},
		{[]string{"local:2?nice=5&nice=6"}, []string{"nice", "2 times"}},
		{[]string{"local:2?nice=20"}, []string{`"20"`, "-20 to 19"}},
		{[]string{"local:2?nice=high"}, []string{`"high"`, "-20 to 19"}},
		{[]string{"local:2?dir="}, []string{"empty dir"}},
		{[]string{"local:2?id="}, []string{"an id has 1 to"}},
		{[]string{"local:2?env.=x"}, []string{"environment", `"env."`}},
		{[]string{"local:2?dir=%zz"}, []string{"%zz"}},
		{[]string{"inproc:2?dir=/"}, []string{"dir", "inproc"}},
		{[]string{"inproc:2?env.A=b"}, []string{"env.A", "inproc"}},
		{[]string{"inproc:2?nice=1"}, []string{"nice", "inproc"}},
		{[]string{"inproc:1?id=x", "inproc:1?id=x"}, []string{`"x"`, "two workers"}},
		{[]string{"local:1", "smoke:1"}, []string{`"smoke"`}},
	} {
		pool, err := afar.Open(within(t), test.targets...)
		if err == nil {
			_ = pool.Close()
			t.Errorf("%q is accepted", test.targets)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, which says nothing of %s", test.targets, err, want)
			}
		}
	}
}

// A directory that is not there is an error of Open, which names it.
func TestTargetDirMissing(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	pool, err := afar.Open(within(t), "local:1", "local:1?dir="+missing)
	if err == nil {
		_ = pool.Close()
		t.Fatal("accepted")
	}
	if !strings.Contains(err.Error(), missing) {
		t.Error(err)
	}
}

// surroundings is what a worker finds around itself.
type surroundings struct {
	Dir, Variable string
	Procs         int
}

var scout = afar.Func(lookAround)

func lookAround(_ context.Context, variable string) (surroundings, error) {
	dir, err := os.Getwd()
	return surroundings{dir, os.Getenv(variable), runtime.GOMAXPROCS(0)}, err
}

// The parameters of a target take effect in its workers, and only there.
func TestTargetParameters(t *testing.T) {
	ctx := within(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	pool := open(t, "local:1?id=index+er&env.AFAR_TEST_COLOR=dark%26red&dir="+dir, "local:1")
	gateways := pool.Gateways()
	if id := gateways[0].ID(); id != "index er" {
		t.Errorf("id %q", id)
	}
	got, err := scout.On(gateways[0])(ctx, "AFAR_TEST_COLOR")
	if err != nil || got.Dir != dir || got.Variable != "dark&red" {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = scout.On(gateways[1])(ctx, "AFAR_TEST_COLOR")
	if err != nil || got.Dir != here || got.Variable != "" {
		t.Errorf("the other: %+v, %v", got, err)
	}
}

// Workers have ids of their own that stay, and targets as they were written.
func TestTargetIDs(t *testing.T) {
	pool := open(t, "inproc:2", "inproc:1", "inproc:2?id=x", "inproc:1?id=y", "inproc:?workers=2&id=z")
	var ids []string
	for _, g := range pool.Gateways() {
		ids = append(ids, g.ID())
	}
	if got := strings.Join(ids, " "); got != "inproc-1 inproc-2 inproc-3 x-1 x-2 y z-1 z-2" {
		t.Error(got)
	}
	if got := pool.Gateways()[3].Target(); got != "inproc:2?id=x" {
		t.Error(got)
	}
	for o := range square.MapUnordered(within(t), pool, numbers(100)) {
		if o.Err != nil {
			t.Error(o.Err)
		}
	}
}

// Without a number there are as many workers as cores.
func TestTargetWithoutNumber(t *testing.T) {
	if got := len(open(t, "inproc:").Gateways()); got != runtime.GOMAXPROCS(0) {
		t.Errorf("%d workers", got)
	}
}

// The workers of a pool share the cores, unless somebody says otherwise.
func TestTargetCores(t *testing.T) {
	ctx := within(t)
	share := max(1, runtime.GOMAXPROCS(0)/2)
	for _, test := range []struct {
		target, variable string
		want             int
	}{
		{"local:2", "", share},
		{"local:2?env.GOMAXPROCS=3", "", 3},
		{"local:2", "5", 5},
	} {
		t.Run(test.target+test.variable, func(t *testing.T) {
			t.Setenv("GOMAXPROCS", test.variable)
			if test.variable == "" {
				_ = os.Unsetenv("GOMAXPROCS") // put back by Setenv
			}
			for g, o := range scout.Each(ctx, open(t, test.target), "GOMAXPROCS") {
				if o.Err != nil || o.Out.Procs != test.want {
					t.Errorf("%s: %+v, %v, want %s", g.ID(), o.Out, o.Err, strconv.Itoa(test.want))
				}
			}
		})
	}
}

// Wrong numbers in a Config are named.
func TestConfigErrors(t *testing.T) {
	for want, c := range map[string]afar.Config{
		"Config.Concurrency":  {Concurrency: -1},
		"Config.MaxItem":      {MaxItem: -1},
		"Config.Keepalive":    {Keepalive: -1},
		"Config.StartTimeout": {StartTimeout: -1},
	} {
		pool, err := c.Open(within(t), "inproc:1")
		if err == nil {
			_ = pool.Close()
			t.Errorf("%s is accepted", want)
		} else if !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
}
