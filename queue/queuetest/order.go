package queuetest

import (
	"fmt"
	"slices"

	"github.com/afar-go/afar/queue"
)

var orderStories = []story{
	{"OrderWithinAGroupIsThatOfSubmission", orderFIFO},
	{"OrderHasHigherPrioritiesFirst", orderPriorities},
	{"OrderLetsGroupsTakeTurns", orderGroups},
	{"OrderLetsGroupsTakeTurnsFromTakeToTake", orderGroupsOneByOne},
	{"OrderOfPrioritiesComesBeforeThatOfGroups", orderBoth},
	{"OrderHasThoseThatComeBackFirst", orderBack},
	{"OrderKeepsItsPriorityAfterARetry", orderBackPriority},
}

func orderFIFO(s *stage) {
	for _, t := range plain("t", 50) {
		s.submit(t)
	}
	for i, d := range append(s.take(7), s.take(43)...) {
		if want := fmt.Sprintf("t%d", i+1); d.ID != want {
			s.Fatalf("delivery %d is %s, not %s", i, d.ID, want)
		}
	}
}

func orderPriorities(s *stage) {
	var tasks []queue.Task
	for i := range 30 {
		t := task(fmt.Sprint(i))
		t.Priority = queue.Priority(i%3 - 1)
		tasks = append(tasks, t)
	}
	s.submit(tasks...)
	var got []queue.Delivery
	for range 6 {
		got = append(got, s.take(5)...)
	}
	slices.SortStableFunc(tasks, func(a, b queue.Task) int { return int(b.Priority) - int(a.Priority) })
	for i, d := range got {
		if d.ID != tasks[i].ID {
			s.Fatalf("delivery %d is %s with priority %d, not %s", i, d.ID, d.Priority, tasks[i].ID)
		}
	}
	s.submit(task("normal"))
	urgent := task("urgent")
	urgent.Priority = queue.High
	s.submit(urgent)
	s.takeOne("urgent")
	s.takeOne("normal")
}

// grouped returns tasks of groups, all of the first group before those of the next.
func grouped(n int, groups ...string) []queue.Task {
	var tasks []queue.Task
	for _, g := range groups {
		for _, t := range plain("of-"+g+"-", n) {
			t.Group = g
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// checkTurns fails the test if a group was served twice before each was served once.
func (s *stage) checkTurns(deliveries []queue.Delivery, groups int) {
	s.Helper()
	for round := range slices.Chunk(deliveries, groups) {
		served := map[string]bool{}
		for _, d := range round {
			served[d.Group] = true
		}
		if len(served) != groups {
			s.Fatalf("groups do not take turns: %v", ids(deliveries))
		}
	}
	next := map[string]int{}
	for _, d := range deliveries {
		next[d.Group]++
		if want := fmt.Sprintf("of-%s-%d", d.Group, next[d.Group]); d.ID != want {
			s.Fatalf("of group %q comes %s, not %s", d.Group, d.ID, want)
		}
	}
}

func orderGroups(s *stage) {
	s.submit(grouped(20, "a", "b", "", "c")...)
	s.checkTurns(s.take(80), 4)
}

func orderGroupsOneByOne(s *stage) {
	s.submit(grouped(10, "a", "b", "c")...)
	var got []queue.Delivery
	for range 30 {
		got = append(got, s.take(1)...)
	}
	s.checkTurns(got, 3)
}

func orderBoth(s *stage) {
	tasks := grouped(5, "a", "b")
	for i := range tasks {
		if tasks[i].Group == "b" {
			tasks[i].Priority = queue.High
		}
	}
	s.submit(tasks...)
	for i, d := range s.take(10) {
		if want := i < 5; (d.Group == "b") != want {
			s.Fatalf("delivery %d is %s: the group of a lower priority had its turn", i, d.ID)
		}
	}
}

func orderBack(s *stage) {
	s.submit(plain("t", 6)...)
	first := s.take(3)
	s.finish(queue.EndRetry, first[0])
	s.finish(queue.EndRelease, first[1])
	back := ids(s.take(2))
	slices.Sort(back)
	if !slices.Equal(back, []string{"t1", "t2"}) {
		s.Errorf("after a retry of t1 and a release of t2 come %v", back)
	}
	s.finish(queue.EndRelease, first[2])
	s.takeOne("t3")
	s.takeOne("t4")
}

func orderBackPriority(s *stage) {
	urgent := task("urgent")
	urgent.Priority = queue.High
	s.submit(task("n1"), task("n2"), urgent)
	d := s.takeOne("urgent")
	n := s.takeOne("n1")
	s.finish(queue.EndRetry, n)
	s.finish(queue.EndRetry, d)
	s.takeOne("urgent")
	s.takeOne("n1")
	s.takeOne("n2")
}
