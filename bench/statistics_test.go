package main

import "testing"

func TestMedian(t *testing.T) {
	if _, ok := median(nil); ok {
		t.Error("nothing has a median")
	}
	odd, even := []float64{9, 1, 5}, []float64{4, 1, 3, 2}
	if m, _ := median(odd); m != 5 {
		t.Errorf("median of %v is %v", odd, m)
	}
	if m, _ := median(even); m != 2.5 {
		t.Errorf("median of %v is %v", even, m)
	}
	if odd[0] != 9 {
		t.Error("median sorted its argument")
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.06072: "0.0607", 0.997: "0.997", 1: "1", 1.25: "1.25", 62.44: "62.4", 884.4: "884", 4577: "4577",
		9994: "9994", 9996: "10k", 12_345: "12.3k", 999_400: "999k", 999_600: "1M", 23_440_000: "23.4M", -1.5: "-1.5",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, not %q", v, got, want)
		}
	}
}

func TestRatiosPairRounds(t *testing.T) {
	got := ratios([]float64{10, 20, 30}, []float64{5, 5})
	if len(got) != 2 || got[0] != 2 || got[1] != 4 {
		t.Errorf("got %v", got)
	}
}
