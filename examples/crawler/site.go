package main

import (
	"context"
	"fmt"
	"io/fs"
)

// page is a page as it was fetched.
type page struct {
	Text  string
	Links []string
}

// site stands in for the network, so that the crawl is the same every time. It
// has circles, a page that links to itself and a link that leads nowhere.
var site = map[string]page{
	"/":             {"Welcome to the site", []string{"/docs", "/blog", "/about"}},
	"/about":        {"About us", []string{"/"}},
	"/blog":         {"The blog", []string{"/", "/blog/one", "/blog/two"}},
	"/blog/one":     {"The first post of three", []string{"/blog", "/blog/two"}},
	"/blog/two":     {"The second post", []string{"/blog/one", "/blog/three"}},
	"/blog/three":   {"The last post for now", []string{"/blog/three", "/gone"}},
	"/docs":         {"Documentation", []string{"/", "/docs/start", "/docs/api"}},
	"/docs/start":   {"Where to start", []string{"/docs", "/docs/api", "/gone"}},
	"/docs/api":     {"All that there is", []string{"/docs", "/docs/api/old"}},
	"/docs/api/old": {"All that there was", []string{"/docs/api"}},
	"/never/linked": {"Nobody comes here", []string{"/"}},
}

// download fetches a page.
func download(_ context.Context, path string) (page, error) {
	p, ok := site[path]
	if !ok {
		return page{}, fmt.Errorf("GET %s: %w", path, fs.ErrNotExist)
	}
	return p, nil
}
