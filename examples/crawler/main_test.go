package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/afar-go/afar"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	afar.Main()
	goleak.VerifyTestMain(m)
}

func Example() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// depth words links page
	//     0     4     3 /
	//     1     2     1 /about
	//     1     2     3 /blog
	//     1     1     3 /docs
	//     2     5     2 /blog/one
	//     2     3     2 /blog/two
	//     2     4     2 /docs/api
	//     2     3     3 /docs/start
	//     3     5     2 /blog/three
	//     3     4     1 /docs/api/old
	// not there: /gone
}

// treePages is how many pages below /tree the tests add to the site. The workers
// of a test are this same program, so they have them too.
const treePages = 1000

func init() {
	for i := range treePages {
		p := page{Text: "a page", Links: []string{"/"}}
		for child := 2*i + 1; child <= 2*i+2 && child < treePages; child++ {
			p.Links = append(p.Links, fmt.Sprintf("/tree/%d", child))
		}
		site[fmt.Sprintf("/tree/%d", i)] = p
	}
}

// open opens a pool that does not log lost workers.
func open(t *testing.T, target string) *afar.Pool {
	t.Helper()
	pool, err := afar.Config{Log: slog.DiscardHandler}.Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

func begin(t *testing.T, keeper *afar.Pool, start string) *afar.Object[frontier] {
	t.Helper()
	crawl, err := frontiers.New(t.Context(), keeper, start)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = crawl.Close() })
	return crawl
}

// murderer is a Runner that kills a worker of its pool with each 50th call.
type murderer struct {
	pool          *afar.Pool
	calls, killed atomic.Int64
}

func (m *murderer) Run(ctx context.Context, c *afar.Call) (*afar.Reply, error) {
	if n := m.calls.Add(1); n%50 == 0 {
		gateways := m.pool.Gateways()
		_ = gateways[int(n/50)%len(gateways)].Kill() // one that is dead already is as good as killed
		m.killed.Add(1)
	}
	return afar.With(m.pool, afar.Policy{MaxAttempts: 100}).Run(ctx, c)
}

// TestLostFetchers kills fetchers while they use the frontier: every page is
// fetched all the same, and the frontier knows each once.
func TestLostFetchers(t *testing.T) {
	crawl := begin(t, open(t, "local:1"), "/tree/0")
	fetchers := &murderer{pool: open(t, "local:3")}
	dead, err := follow(t.Context(), crawl, fetchers)
	if err != nil || !slices.Equal(dead, []string{"/gone"}) {
		t.Fatalf("not there: %v, error %v", dead, err)
	}
	if fetchers.killed.Load() == 0 {
		t.Error("nobody was killed, so this shows little")
	}
	visits, err := afar.Get[[]visit](t.Context(), crawl, "Visits")
	if err != nil {
		t.Fatal(err)
	}
	// From the tree one gets to the rest of the site, but for one page.
	const rest = 11
	if len(visits) != treePages+rest {
		t.Errorf("%d pages seen", len(visits))
	}
	for _, v := range visits {
		if v.Fetched != (v.Path != "/gone") {
			t.Errorf("%+v", v)
		}
	}
}

// TestLostKeeper kills the worker in which the frontier lives: what is known is
// gone with it, and everybody is told.
func TestLostKeeper(t *testing.T) {
	keeper := open(t, "local:1")
	crawl := begin(t, keeper, "/")
	task := task{"/about", crawl.Ref()}
	fetchers := open(t, "local:1")
	if n, err := fetch.On(fetchers)(t.Context(), task); n != 0 || err != nil {
		t.Fatalf("%d new pages, error %v", n, err)
	}
	if err := keeper.Gateways()[0].Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := follow(t.Context(), crawl, fetchers); !errors.Is(err, afar.ErrWorkerLost) {
		t.Errorf("Next: %v", err)
	}
	if _, err := fetch.On(fetchers)(t.Context(), task); err == nil {
		t.Error("the frontier took a report after its end")
	}
}

// TestReport reports a page twice, as happens when a worker is lost.
func TestReport(t *testing.T) {
	f, err := newFrontier(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	f.Next()
	in := found{Path: "/", Words: 4, Links: []string{"/docs", "/", "/docs"}}
	for i, want := range []int{1, 0} {
		if n, err := f.Report(t.Context(), in); n != want || err != nil {
			t.Errorf("report %d: %d new pages, error %v", i, n, err)
		}
	}
	if next := f.Next(); !slices.Equal(next, []string{"/docs"}) {
		t.Errorf("next: %v", next)
	}
	if got, want := fmt.Sprint(f.Visits()), "[{/ 0 true 4 3} {/docs 1 false 0 0}]"; got != want {
		t.Errorf("visits: %s", got)
	}
}
