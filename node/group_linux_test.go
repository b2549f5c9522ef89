package node

import (
	"bufio"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/trust"
)

// What is written for limits, in the kernel's words.
func TestGroupFiles(t *testing.T) {
	g := group{t.TempDir()}
	for _, name := range []string{"cpu.max", "memory.max", "memory.swap.max", "memory.oom.group", "cgroup.subtree_control"} {
		if err := os.WriteFile(filepath.Join(g.path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{g.setCPU(1.5), g.setMemory(1 << 30), g.enable("memory")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"cpu.max": "150000 100000", "memory.max": "1073741824", "memory.swap.max": "0",
		"memory.oom.group": "1", "cgroup.subtree_control": "+memory"} {
		if got, err := os.ReadFile(filepath.Join(g.path, name)); err != nil || string(got) != want {
			t.Errorf("%s has %q, want %q (%v)", name, got, want, err)
		}
	}
	if g.starved() {
		t.Error("it starved before there was anything in it")
	}
	events := "low 0\noom 1\noom_kill 1\noom_group_kill 0\n"
	if err := os.WriteFile(filepath.Join(g.path, "memory.events"), []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	if !g.starved() {
		t.Error("it did not starve")
	}
}

// Why something cannot be limited is said so that one knows what to change.
func TestGroupControllers(t *testing.T) {
	above := t.TempDir()
	g := groups{group: group{filepath.Join(above, "not there")}}
	if err := os.WriteFile(filepath.Join(above, "cgroup.controllers"), []byte("cpu pids\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for controller, want := range map[string]string{"memory": "not delegated", "cpu": "did not pass"} {
		if err := g.controls(controller, above); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", controller, err)
		}
	}
}

// grouped makes fences with control groups, or skips the test where there are none.
func grouped(t *testing.T) *fences {
	t.Helper()
	f := openFences(t.TempDir(), true, slog.New(slog.DiscardHandler))
	if f.groups == nil {
		t.Skip("no control groups of version 2 that this user may make")
	}
	t.Cleanup(func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// Not even who leaves the process group and its session survives the control group.
func TestGroupEnds(t *testing.T) {
	x := grouped(t).around("caller")
	c, err := x.cell(trust.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("setsid", "--fork", "sh", "-c", "echo $$; exec sleep 1000")
	cmd.SysProcAttr = &unix.SysProcAttr{}
	cmd.Stdout = w
	c.adjust(cmd)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if err := c.hold(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || line == "\n" {
		t.Fatalf("it did not start: %q, %v", line, err)
	}
	// Only the process that is to be ended has the pipe open now.
	var exit launch.Exit
	c.end(&exit)
	_ = r.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("it is still there: %v", err)
	}
	if exit != (launch.Exit{}) {
		t.Errorf("exit became %+v", exit)
	}
	if err := x.close(); err != nil {
		t.Error(err)
	}
}

// The group's limit of processors is that of the grant with which something was started or
// asked last; it is written when it has changed.
func TestGroupRenewed(t *testing.T) {
	x := &fence{group: &group{t.TempDir()}}
	file := filepath.Join(x.group.path, "cpu.max")
	for _, step := range []struct {
		cpu  float64
		want string
	}{{0, "-"}, {1.5, "150000 100000"}, {1.5, "-"}, {2, "200000 100000"}, {0, "max 100000"}, {0, "-"}} {
		if err := os.WriteFile(file, []byte("-"), 0o600); err != nil {
			t.Fatal(err)
		}
		report := x.renew(trust.Grant{CPU: step.cpu, Memory: 1 << 30})
		if got, err := os.ReadFile(file); err != nil || strings.TrimRight(string(got), "-") != strings.TrimRight(step.want, "-") {
			t.Errorf("with %v processors cpu.max has %q, want %q (%v)", step.cpu, got, step.want, err)
		}
		if want := strings.Count(strings.Join(report, "\n"), byGroup); want != 1 && step.cpu == 0 || want != 2 && step.cpu > 0 {
			t.Errorf("with %v processors the report is %q", step.cpu, report)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if report := x.renew(trust.Grant{CPU: 1}); !strings.Contains(report[0], byGoodwill) {
		t.Errorf("what cannot be limited is reported as %q", report)
	}
}

// A grant's memory and processors are enforced where the controllers are.
func TestGroupLimits(t *testing.T) {
	f := grouped(t)
	if f.groups.memory != nil || f.groups.cpu != nil {
		t.Skipf("control groups do not limit everything here: %v; %v", f.groups.memory, f.groups.cpu)
	}
	x := f.around("caller")
	grant := trust.Grant{Memory: 32 << 20, CPU: 0.5}
	if text := strings.Join(x.renew(grant), "\n"); strings.Count(text, byGroup) != 2 {
		t.Errorf("the report is %q", text)
	}
	c, err := x.cell(grant)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "exec tail -c 200000000 /dev/zero") // which it keeps in memory
	cmd.SysProcAttr = &unix.SysProcAttr{}
	c.adjust(cmd)
	err = cmd.Run()
	exit := launch.Exit{Code: -1}
	c.end(&exit)
	if err == nil || !exit.OutOfMemory {
		t.Errorf("a process that takes 200 MB ended with %v, %+v", err, exit)
	}
	if err := x.close(); err != nil {
		t.Error(err)
	}
}
