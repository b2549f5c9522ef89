package memq

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// clock is a ringer that is known by its number.
type clock struct {
	alarm  alarm
	number int
}

func (*clock) ring(*store) {}

// TestAlarmsRingInOrder sets, puts off and unsets alarms, and compares the heap with a
// sorted list.
func TestAlarmsRingInOrder(t *testing.T) {
	type set struct {
		at    time.Duration
		order int
		clock *clock
	}
	rapid.Check(t, func(t *rapid.T) {
		var alarms alarms
		var model []set
		clocks := make([]*clock, 20)
		for i := range clocks {
			clocks[i] = &clock{number: i}
		}
		drop := func(c *clock) { model = slices.DeleteFunc(model, func(s set) bool { return s.clock == c }) }
		order := 0
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				c := clocks[rapid.IntRange(0, len(clocks)-1).Draw(t, "clock")]
				at := time.Duration(rapid.IntRange(0, 10).Draw(t, "at"))
				alarms.set(&c.alarm, c, at)
				drop(c)
				order++
				model = append(model, set{at, order, c})
			},
			"unset": func(t *rapid.T) {
				c := clocks[rapid.IntRange(0, len(clocks)-1).Draw(t, "clock")]
				alarms.unset(&c.alarm)
				drop(c)
			},
			"pop": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("nothing is set")
				}
				first := slices.MinFunc(model, func(a, b set) int {
					if a.at != b.at {
						return int(a.at - b.at)
					}
					return a.order - b.order
				})
				if at, ok := alarms.next(); !ok || at != first.at {
					t.Fatalf("the next alarm is at %d, not %d", at, first.at)
				}
				if got := alarms.pop(); got != ringer(first.clock) {
					t.Fatalf("%d rings, not %d", got.(*clock).number, first.clock.number)
				}
				drop(first.clock)
			},
			"": func(t *rapid.T) {
				if len(alarms.heap) != len(model) {
					t.Fatalf("%d alarms are set, not %d", len(alarms.heap), len(model))
				}
				for i, s := range alarms.heap {
					if s.alarm.place != i+1 {
						t.Fatalf("the alarm at %d says that it is at %d", i+1, s.alarm.place)
					}
				}
			},
		})
	})
}
