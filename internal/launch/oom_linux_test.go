package launch

import (
	"testing"
)

func TestNamesVictim(t *testing.T) {
	for _, test := range []struct {
		record string
		want   bool
	}{
		{"3,901,5,-;Out of memory: Killed process 1234 (worker) total-vm:1kB, anon-rss:1kB\n SUBSYSTEM=x\n", true},
		{"3,901,5,-;Memory cgroup out of memory: Killed process 1234 (worker), UID 0\n", true},
		{"6,900,5,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task_memcg=/x,task=worker,pid=1234,uid=0\n", true},
		{"6,900,5,c;oom-kill:constraint=CONSTRAINT_NONE,task=worker,pid=1234\n", true},
		{"3,901,5,-;Out of memory: Killed process 12345 (worker)\n", false},
		{"3,901,5,-;Out of memory: Killed process 234 (worker)\n", false},
		{"6,900,5,-;oom-kill:constraint=CONSTRAINT_NONE,task=worker,pid=12345,uid=1234\n", false},
		{"6,900,5,-;oom-kill:constraint=CONSTRAINT_NONE,task=worker,global_pid=1234,uid=0\n", false},
		{"11,902,5,-;Out of memory: Killed process 1234 (worker)\n", false}, // a program wrote it
		{"3,901,5,-;worker[1234]: segfault at 0\n", false},
		{"3,901,5,-;x\n TEXT=Killed process 1234 (worker)\n", false},
		{"", false},
		{";", false},
		{"x,1,1,-;Killed process 1234 (worker)", false},
	} {
		if got := namesVictim([]byte(test.record), 1234); got != test.want {
			t.Errorf("%q: %v", test.record, got)
		}
	}
}

func TestParseMemoryGroup(t *testing.T) {
	for _, test := range []struct {
		content string
		want    memoryGroup
		counter string
	}{
		{"0::/user.slice/x:y\n", memoryGroup{"/user.slice/x:y", true}, "/sys/fs/cgroup/user.slice/x:y/memory.events"},
		{"0::/\n", memoryGroup{"/", true}, "/sys/fs/cgroup/memory.events"},
		{"9:name=systemd:/s\n4:memory:/m\n0::/\n", memoryGroup{"/m", false}, "/sys/fs/cgroup/memory/m/memory.oom_control"},
		{"0::/\n3:cpu,memory:/both\n", memoryGroup{"/both", false}, "/sys/fs/cgroup/memory/both/memory.oom_control"},
		{"1:cpu:/c\n", memoryGroup{}, ""},
		{"garbage\n", memoryGroup{}, ""},
		{"", memoryGroup{}, ""},
	} {
		got := parseMemoryGroup(test.content)
		if got != test.want || got.counter() != test.counter {
			t.Errorf("%q: %v, %s", test.content, got, got.counter())
		}
	}
}

func TestMemoryWatchWithoutEvent(t *testing.T) {
	w := watchMemory()
	defer w.close()
	if w.kills == unknownCount {
		t.Skip("this kernel does not count the processes it kills for want of memory")
	}
	if w.blames(1) {
		t.Error("nothing happened, and yet")
	}
}

func BenchmarkWatchMemory(b *testing.B) {
	for b.Loop() {
		watchMemory().close()
	}
}
