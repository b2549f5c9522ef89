package main

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/afar-go/afar"
)

// frontier is what a crawl knows: it lives in one worker, and those that fetch
// pages in others share it. Nothing in it is locked, as methods of one object run
// one at a time.
type frontier struct {
	Depth int // of the pages that Next gave out; the first one has 0

	next []string         // pages for the next Next
	seen map[string]visit // all pages that anybody has linked to
}

// visit is what is known of a page.
type visit struct {
	Path    string
	Depth   int // links from the first page, on the shortest way
	Fetched bool
	Words   int
	Links   int
}

// newFrontier begins a crawl at a page.
func newFrontier(_ context.Context, start string) (*frontier, error) {
	f := &frontier{Depth: -1, seen: map[string]visit{}}
	f.add(start)
	return f, nil
}

// add notes a page that was not seen before.
func (f *frontier) add(path string) {
	if _, ok := f.seen[path]; !ok {
		f.seen[path] = visit{Path: path, Depth: f.Depth + 1}
		f.next = append(f.next, path)
	}
}

// Next returns the pages that were found since it was called the last time, none
// when the crawl has ended.
func (f *frontier) Next() []string {
	f.Depth++
	pages := f.next
	f.next = nil
	return pages
}

// found is what was in a page.
type found struct {
	Path  string
	Words int
	Links []string
}

// Report takes in what was in a page, and returns how many of its links are new.
//
// It does no harm to report a page twice, which happens: when a worker is lost,
// what it was doing is done once more in another one.
func (f *frontier) Report(_ context.Context, in found) (int, error) {
	v := f.seen[in.Path]
	v.Fetched, v.Words, v.Links = true, in.Words, len(in.Links)
	f.seen[in.Path] = v
	before := len(f.seen)
	for _, link := range in.Links {
		f.add(link)
	}
	return len(f.seen) - before, nil
}

// Visits returns all pages, those near the first one first.
func (f *frontier) Visits() []visit {
	return slices.SortedFunc(maps.Values(f.seen), func(a, b visit) int {
		return cmp.Or(cmp.Compare(a.Depth, b.Depth), cmp.Compare(a.Path, b.Path))
	})
}

var (
	frontiers = afar.Class(newFrontier)
	report    = afar.Method((*frontier).Report)
)
