package memq

import (
	"cmp"
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

// setClock is an alarm of the model: a list of them is searched for the next one.
type setClock struct {
	at    time.Duration
	order int
	clock *clock
}

// alarmModel is a heap of alarms, and a list that says what it must do.
type alarmModel struct {
	alarms alarms
	clocks []*clock
	set    []setClock
	order  int
}

func (m *alarmModel) drop(c *clock) {
	m.set = slices.DeleteFunc(m.set, func(s setClock) bool { return s.clock == c })
}

func (m *alarmModel) draw(t *rapid.T) *clock { return rapid.SampledFrom(m.clocks).Draw(t, "clock") }

func (m *alarmModel) put(t *rapid.T) {
	c, at := m.draw(t), time.Duration(rapid.IntRange(0, 10).Draw(t, "at"))
	m.alarms.set(&c.alarm, c, at)
	m.drop(c)
	m.order++
	m.set = append(m.set, setClock{at, m.order, c})
}

func (m *alarmModel) unset(t *rapid.T) {
	c := m.draw(t)
	m.alarms.unset(&c.alarm)
	m.drop(c)
}

func (m *alarmModel) pop(t *rapid.T) {
	if len(m.set) == 0 {
		t.Skip("nothing is set")
	}
	first := slices.MinFunc(m.set, func(a, b setClock) int { return cmp.Or(cmp.Compare(a.at, b.at), a.order-b.order) })
	if at, ok := m.alarms.next(); !ok || at != first.at {
		t.Fatalf("the next alarm is at %d, not %d", at, first.at)
	}
	if got := m.alarms.pop(); got != ringer(first.clock) {
		t.Fatalf("%d rings, not %d", got.(*clock).number, first.clock.number)
	}
	m.drop(first.clock)
}

func (m *alarmModel) compare(t *rapid.T) {
	if len(m.alarms.heap) != len(m.set) {
		t.Fatalf("%d alarms are set, not %d", len(m.alarms.heap), len(m.set))
	}
	for i, s := range m.alarms.heap {
		if s.alarm.place != i+1 {
			t.Fatalf("the alarm at %d says that it is at %d", i+1, s.alarm.place)
		}
	}
}

// TestAlarmsRingInOrder sets, puts off and unsets alarms.
func TestAlarmsRingInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &alarmModel{}
		for i := range 20 {
			m.clocks = append(m.clocks, &clock{number: i})
		}
		t.Repeat(map[string]func(*rapid.T){"set": m.put, "unset": m.unset, "pop": m.pop, "": m.compare})
	})
}
