package node

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// groups is the control group (version 2) in which callers have theirs.
type groups struct {
	group
	memory, cpu error // why these cannot be limited, or nil
}

// openGroups makes the group of the node that has a directory, below that in which
// the node runs. If there is one, its processes are those of a node that was killed.
// Where the controllers cannot be had, it is only there to end processes.
func openGroups(dir string) (*groups, error) {
	own, err := ownGroup()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(dir))
	g := &groups{group: group{filepath.Join(own, fmt.Sprintf("afar-callers-%x", sum[:8]))}}
	if err := g.remove(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(g.path, 0o755); err != nil {
		return nil, err
	}
	above := group{own}
	wanted := []string{"memory", "cpu"}
	if above.enable(wanted...) == unix.EBUSY {
		settle(above, wanted)
	}
	g.memory = g.controls("memory", own)
	g.cpu = g.controls("cpu", own)
	return g, nil
}

// controls has the groups in it limited by a controller, or says why they cannot be:
// above is where it would have come from.
func (g *groups) controls(controller, above string) error {
	err := g.enable(controller)
	if err == nil {
		return nil
	}
	there, readErr := os.ReadFile(filepath.Join(above, "cgroup.controllers"))
	switch {
	case readErr != nil:
		return readErr
	case !slices.Contains(strings.Fields(string(there)), controller):
		return fmt.Errorf("the controller %q is not in %s: it is not delegated to the node, or version 1 has it", controller,
			filepath.Join(above, "cgroup.controllers"))
	}
	return fmt.Errorf("%s did not pass the controller %q on, as it does if the node is not alone in it: %w", above, controller, err)
}

// settle moves the node out of the way: a group that gives controllers to others
// must not have processes of its own. It is in vain if the node is not alone there.
func settle(above group, wanted []string) {
	old, _ := filepath.Glob(filepath.Join(above.path, "afar-node-*"))
	for _, path := range old {
		_ = os.Remove(path) // of a node that has ended; others cannot be removed
	}
	home := group{filepath.Join(above.path, fmt.Sprintf("afar-node-%d", os.Getpid()))}
	if os.Mkdir(home.path, 0o755) != nil {
		return
	}
	if home.write("cgroup.procs", strconv.Itoa(os.Getpid())) == nil {
		if above.enable(wanted...) == nil {
			return
		}
		_ = above.write("cgroup.procs", strconv.Itoa(os.Getpid()))
	}
	_ = os.Remove(home.path)
}

func (g *groups) close() error {
	// The node stays where it was moved to; its group is removed by whoever made the one above, or by the next node.
	return g.remove()
}

// ownGroup finds the group of this process.
func ownGroup() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			mount, err := groupMount()
			return filepath.Join(mount, path), err
		}
	}
	return "", errors.New("no control group of version 2")
}

// groupMount finds where the groups are.
func groupMount() (string, error) {
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	return "", errors.New("control groups of version 2 are not mounted")
}

// group is a control group.
type group struct{ path string }

func (g group) write(file, text string) error {
	f, err := os.OpenFile(filepath.Join(g.path, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// enable gives controllers to the groups in it. Busy is said plainly, for comparison.
func (g group) enable(controllers ...string) error {
	for _, c := range controllers {
		if err := g.write("cgroup.subtree_control", "+"+c); err != nil {
			if errors.Is(err, unix.EBUSY) {
				return unix.EBUSY
			}
			return err
		}
	}
	return nil
}

// make makes a group in it, which may have controllers for what is in that.
func (g group) make(name string) (*group, error) {
	inner := &group{filepath.Join(g.path, name)}
	if err := os.Mkdir(inner.path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return inner, nil
}

// period is that of cpu.max, in microseconds.
const period = 100_000

// setCPU limits the processors of a group; 0 is no limit.
func (g group) setCPU(processors float64) error {
	if processors == 0 {
		return g.write("cpu.max", fmt.Sprintf("max %d", period))
	}
	return g.write("cpu.max", fmt.Sprintf("%d %d", max(1000, int(processors*period)), period))
}

func (g group) setMemory(n int64) error {
	_ = g.write("memory.swap.max", "0") // where there is swap
	_ = g.write("memory.oom.group", "1")
	return g.write("memory.max", strconv.FormatInt(n, 10))
}

// starved tells whether something in it was killed for want of memory.
func (g group) starved() bool {
	text, _ := os.ReadFile(filepath.Join(g.path, "memory.events"))
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			return n != "0"
		}
	}
	return false
}

// killPatience is how long the kernel may take to end what is in a group.
const killPatience = 5 * time.Second

// remove ends everything in it and below, and removes it.
func (g group) remove() error {
	_ = g.write("cgroup.kill", "1") // there since Linux 5.14
	deadline := time.Now().Add(killPatience)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := g.removeOnce()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause) // the kernel tells nobody who does not watch; it is a matter of microseconds
	}
}

func (g group) removeOnce() error {
	inner, err := os.ReadDir(g.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	slices.Reverse(inner)
	for _, e := range inner {
		if e.IsDir() {
			if err := (group{filepath.Join(g.path, e.Name())}).removeOnce(); err != nil {
				return err
			}
		}
	}
	return os.Remove(g.path)
}
