package main

import (
	"cmp"
	"fmt"
)

// Contenders that targets and ratios speak of.
const (
	nameAfar = "afar"
	nameRaw  = "raw"
)

// A target is what afar should reach in a row: a bound on its own value, or on its ratio to another contender.
type target struct {
	of      string // the contender that is judged; empty for afar
	over    string // the contender to divide by; empty for the value itself
	bound   float64
	atMost  bool // the bound is an upper one
	stretch bool // worth striving for, but no failing when missed
}

// A verdict is a target with what was reached.
type verdict struct {
	target
	reached float64
	known   bool // false when afar or the other contender has no value
	met     bool
}

// judge compares r's contenders with its targets.
func (r row) judge() []verdict {
	verdicts := make([]verdict, len(r.targets))
	for i, t := range r.targets {
		v := verdict{target: t}
		of := cmp.Or(t.of, nameAfar)
		if t.over == "" {
			v.reached, v.known = median(r.values(of))
		} else {
			v.reached, v.known = median(ratios(r.values(of), r.values(t.over)))
		}
		if t.atMost {
			v.met = v.known && v.reached <= t.bound
		} else {
			v.met = v.known && v.reached >= t.bound
		}
		verdicts[i] = v
	}
	return verdicts
}

// values gives the contender's value of every round, or nil.
func (r row) values(contender string) []float64 {
	for _, c := range r.runs {
		if c.contender == contender && c.err == nil {
			return c.values
		}
	}
	return nil
}

// text says the target in words, such as "≥ 3× net/rpc" or "≤ 6 MiB".
func (t target) text(unit string) string {
	sign := "≥"
	if t.atMost {
		sign = "≤"
	}
	s := fmt.Sprintf("%s %s %s", sign, number(t.bound), unit)
	if t.over != "" {
		s = fmt.Sprintf("%s %s× %s", sign, number(t.bound), t.over)
	}
	if t.of != "" {
		s = t.of + " " + s
	}
	if t.stretch {
		s = "then " + s
	}
	return s
}

// text says what was reached, and whether that is enough.
func (v verdict) text(unit string) string {
	if !v.known {
		return "not measured"
	}
	s := number(v.reached) + " " + unit
	if v.over != "" {
		s = fmt.Sprintf("%s× %s", number(v.reached), v.over)
	}
	switch {
	case v.met:
		return s + ": yes"
	case v.stretch:
		return s + ": not yet"
	}
	return s + ": NO"
}
