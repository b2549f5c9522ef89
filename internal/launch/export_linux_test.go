package launch

import "errors"

// KernelLogReadable tells whether the kernel's log can be evidence here.
func KernelLogReadable() bool {
	w := watchMemory()
	defer w.close()
	return w.log >= 0
}

// WatchEvidence begins to watch each kind of evidence separately. The function that it returns is to be called after
// the kernel killed a process of the cgroup for want of memory; it says what each kind got wrong.
func WatchEvidence(cgroup string, version1 bool) (weigh func(pid int) map[string]error) {
	kills := oomKills(vmstatPath)
	inGroup := &memoryWatch{kills: kills, log: -1, group: memoryGroup{name: cgroup, unified: !version1}}
	inGroup.groupKills = oomKills(inGroup.group.counter())
	moved := &memoryWatch{kills: kills, log: -1, groupKills: unknownCount}
	blind := &memoryWatch{kills: unknownCount, log: -1, groupKills: unknownCount}
	log, sameLog := watchMemory(), watchMemory()

	return func(pid int) map[string]error {
		defer log.close()
		defer sameLog.close()
		late := watchMemory()
		defer late.close()
		other := &memoryWatch{kills: kills, log: -1, group: inGroup.group, groupKills: oomKills(inGroup.group.counter())}
		wrong := map[string]error{}
		expect := func(what string, got, want bool) {
			wrong[what] = nil
			if got != want {
				wrong[what] = errors.New("wrong answer")
			}
		}
		expect("counter of the cgroup", inGroup.blames(pid), inGroup.groupKills != unknownCount || kills != unknownCount)
		expect("counter of the machine", moved.blames(pid), kills != unknownCount)
		expect("no evidence", blind.blames(pid), false)
		expect("a cgroup where nothing happened", other.blames(pid), false)
		expect("the machine before the watch", late.blames(pid), false)
		if log.log >= 0 {
			named, certain := sameLog.logNames(pid)
			expect("log", named && certain, true)
			expect("log, another process", log.blames(pid+1), false)
		}
		return wrong
	}
}
