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

// A target is what afar should reach in a row: a bound on its own value, on its ratio to another contender, or on what it
// takes more than that.
type target struct {
	of      string // the contender that is judged; empty for afar
	over    string // the contender to divide by; empty for the value itself
	more    bool   // the bound is on how much more it takes than over, instead of on the ratio
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
		switch {
		case t.over == "":
			v.reached, v.known = median(r.values(of))
		case t.more:
			v.reached, v.known = median(differences(r.values(of), r.values(t.over)))
		default:
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
	s := sign + " " + t.amount(t.bound, unit)
	if t.of != "" {
		s = t.of + " " + s
	}
	if t.stretch {
		s = "then " + s
	}
	return s
}

// amount says a value in terms of the target.
func (t target) amount(v float64, unit string) string {
	switch {
	case t.over == "":
		return number(v) + " " + unit
	case t.more:
		return fmt.Sprintf("%s + %s %s", t.over, number(v), unit)
	}
	return fmt.Sprintf("%s× %s", number(v), t.over)
}

// text says what was reached, and whether that is enough.
func (v verdict) text(unit string) string {
	if !v.known {
		return "not measured"
	}
	s := v.amount(v.reached, unit)
	switch {
	case v.met:
		return s + ": yes"
	case v.stretch:
		return s + ": not yet"
	}
	return s + ": NO"
}
