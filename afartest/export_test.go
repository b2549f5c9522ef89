package afartest

import "testing"

// WithTB returns the pool as if another test had opened it.
func WithTB(p *Pool, t testing.TB) *Pool { return &Pool{Pool: p.Pool, t: t, links: p.links} }
