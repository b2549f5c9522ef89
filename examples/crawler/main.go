// Crawler follows the links of a site. What it has seen is an object in one
// worker; pages are fetched by a function in others, which use that object.
//
//	go run ./examples/crawler
//
// The site is a map, so that this needs no network.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/afar-go/afar"
)

// task is a page to fetch, and where to report it: a handle, which works in
// whatever worker it arrives.
type task struct {
	Path     string
	Frontier afar.ObjectRef[frontier]
}

// fetchPage fetches a page and tells the frontier what is in it. It returns how
// many pages that has added to the crawl.
func fetchPage(ctx context.Context, t task) (int, error) {
	p, err := download(ctx, t.Path)
	if err != nil {
		return 0, err
	}
	shared, err := t.Frontier.Bind(ctx)
	if err != nil {
		return 0, err
	}
	defer shared.Close() // gives up this handle; the object stays
	return report.On(shared)(ctx, found{Path: t.Path, Words: len(strings.Fields(p.Text)), Links: p.Links})
}

// fetch is fetchPage, to be called in another process.
var fetch = afar.Func(fetchPage)

func main() {
	afar.Main() // a worker process serves its calls in here, and never returns
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal("crawler: ", err)
	}
}

func run(ctx context.Context, stdout io.Writer) error {
	// Two pools, so that no page is fetched where the frontier lives.
	keeper, err := afar.Open(ctx, "local:1?id=keeper")
	if err != nil {
		return err
	}
	defer keeper.Close()
	fetchers, err := afar.Open(ctx, "local:3?id=fetcher")
	if err != nil {
		return err
	}
	defer fetchers.Close()

	crawl, err := frontiers.New(ctx, keeper, "/")
	if err != nil {
		return err
	}
	defer crawl.Close()
	dead, err := follow(ctx, crawl, fetchers)
	if err != nil {
		return err
	}
	return summarize(ctx, crawl, dead, stdout)
}

// follow fetches all pages that a crawl leads to, those that are equally far from
// the first one at the same time. It returns those that are not there.
func follow(ctx context.Context, crawl *afar.Object[frontier], fetchers afar.Runner) (dead []string, err error) {
	for {
		paths, err := afar.Invoke[[]string](ctx, crawl, "Next")
		if err != nil || len(paths) == 0 {
			return dead, err
		}
		tasks := func(yield func(task) bool) {
			for _, path := range paths {
				if !yield(task{path, crawl.Ref()}) {
					return
				}
			}
		}
		for o := range fetch.MapUnordered(ctx, fetchers, tasks) {
			switch {
			case errors.Is(o.Err, fs.ErrNotExist):
				dead = append(dead, o.In.Path)
			case o.Err != nil:
				return dead, o.Err
			}
		}
	}
}

// summarize prints what the frontier knows in the end.
func summarize(ctx context.Context, crawl *afar.Object[frontier], dead []string, stdout io.Writer) error {
	visits, err := afar.Get[[]visit](ctx, crawl, "Visits")
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "depth words links page")
	for _, v := range visits {
		if v.Fetched {
			fmt.Fprintf(stdout, "%5d %5d %5d %s\n", v.Depth, v.Words, v.Links, v.Path)
		}
	}
	slices.Sort(dead)
	for _, path := range dead {
		fmt.Fprintf(stdout, "not there: %s\n", path)
	}
	return nil
}
