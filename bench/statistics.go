package main

import (
	"math"
	"slices"
	"strconv"
)

// median gives the middle of values, and false when there are none.
func median(values []float64) (float64, bool) {
	if len(values) == 0 {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle], true
	}
	return (sorted[middle-1] + sorted[middle]) / 2, true
}

// ratios divides a by b, round by round, so that a disturbance that lasts longer than a round cancels out.
func ratios(a, b []float64) []float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = a[i] / b[i]
	}
	return out
}

// differences takes b from a, round by round.
func differences(a, b []float64) []float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = a[i] - b[i]
	}
	return out
}

// number writes v with three significant digits, and k or M for large ones.
func number(v float64) string {
	switch {
	case v >= 999_500:
		return significant(v/1e6) + "M"
	case v >= 9_995:
		return significant(v/1e3) + "k"
	}
	return significant(v)
}

func significant(v float64) string {
	if v == 0 || math.Abs(v) >= 100 {
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	power := math.Pow(10, float64(digits))
	return strconv.FormatFloat(math.Round(v*power)/power, 'f', -1, 64)
}
