package hosttest

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say what is special about a host. The zero value is a host with everything that this machine has.
type Options struct {
	// Behind is a host that the new one is wired to, instead of to this machine: it is within reach only from there.
	Behind *Host
	// Busybox leaves whoever logs in with a static busybox, /dev/null, /proc, /tmp and a home, and nothing else.
	Busybox bool
	// Shell is root's login shell; "" is /bin/bash, or with Busybox /bin/sh.
	Shell string
	// Without are commands that are missing, such as "gzip". With Busybox, whose shell has them all built in, it has no
	// effect.
	Without []string
	// System, if set, is what uname -sm says there, such as "Linux riscv64". Programs run all the same.
	System string
	// Space, if not 0, is how many bytes there is room for in all of /root, /tmp, /var/tmp and /dev/shm together.
	Space int64
	// ReadOnlyHome and NoExecHome forbid writing to /root, and executing what is there.
	ReadOnlyHome, NoExecHome bool
}

// Host is a host. Its methods may be used concurrently. Close ends it.
type Host struct {
	name    string
	address string // of the host
	gateway string // of this machine, or of the host it is behind, on the same wire
	dir     string // here; /run/host there
	inside  string // where those who log in are, as the host's own processes see it; "" is their root as well
	options Options
	log     *log

	init   *exec.Cmd
	pid    int            // of init
	orders io.WriteCloser // to it

	mu      sync.Mutex
	masters []*exec.Cmd
}

// patience is how long anything of the rig itself may take.
const patience = 30 * time.Second

// Start starts a host and waits until its sshd listens. Hosts of one process know each other's host keys, and have
// the same key to log in with.
func Start(o Options) (*Host, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	b, n, err := claim()
	if err != nil {
		return nil, err
	}
	h := &Host{options: o, log: newLog()}
	h.name = fmt.Sprintf("afar-%d-%d", b.number, n)
	h.gateway, h.address = b.addresses(n)
	if o.Behind != nil && o.Behind.options.Behind != nil {
		return nil, errors.New("hosttest: a host behind a host that is behind a host")
	}
	if h.dir, err = os.MkdirTemp("", "afar-host-"); err != nil {
		return nil, err
	}
	for _, step := range []func() error{h.furnish, h.boot, h.wire, h.StartSSH} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("hosttest: host %s: %w\n%s", h.name, errors.Join(err, h.Close()), h.log)
		}
	}
	return h, nil
}

// Close ends everything on the host, and the host. It is idempotent.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.masters {
		_ = m.Process.Kill()
		_ = m.Wait()
	}
	h.masters = nil
	if h.init != nil {
		// The network would stay for a while if there are connections that cannot end because the cable is cut.
		_ = h.near("link", "del", h.name)
		_ = h.orders.Close()
		_ = h.init.Process.Kill()
		_ = h.init.Wait()
		h.log.wait()
		h.init = nil
	}
	return os.RemoveAll(h.dir)
}

// Name is the host's name, which ssh knows with the host's Config.
func (h *Host) Name() string { return h.name }

// Address is the host's IP address.
func (h *Host) Address() string { return h.address }

// Log is what the host's sshd has said.
func (h *Host) Log() string { return h.log.String() }

// Target is the afar target of the host; parameters are as "workers=2".
func (h *Host) Target(parameters ...string) string {
	return h.target(h.Config(), parameters)
}

func (h *Host) target(config string, parameters []string) string {
	all := append([]string{"config=" + url.QueryEscape(config)}, parameters...)
	return "ssh://root@" + h.address + "?" + strings.Join(all, "&")
}

// Shell is a command that is a shell on the host, without ssh.
func (h *Host) Shell() []string { return append(h.enter(), "sh") }

// enter is a command that runs the command that follows it on the host.
func (h *Host) enter() []string {
	argv := []string{"nsenter", "--target", strconv.Itoa(h.pid), "--mount", "--uts", "--ipc", "--net", "--pid"}
	return append(argv, "--", "env", "HOME=/root", "XDG_CACHE_HOME=")
}

// Exec runs a command on the host, with all of the machine's commands also where those who log in have none, and returns
// what it prints.
func (h *Host) Exec(argv ...string) (string, error) {
	argv = append(h.enter(), argv...)
	return command(argv...)
}

// Path is where this machine has the file that is called path for those who log in to the host.
func (h *Host) Path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(h.pid), "root", h.inside, path)
}

// Down cuts the host's cable: nothing gets out or in, and nobody is told.
func (h *Host) Down() error { return h.ip("link", "set", "eth0", "down") }

// Up mends it.
func (h *Host) Up() error { return h.ip("link", "set", "eth0", "up") }

// nobody is a link address that no device has. What goes there is lost, and nobody is told.
const nobody = "02:00:00:00:00:00"

// Mute makes the way one-way: what the host sends is lost.
func (h *Host) Mute() error {
	return h.ip("neighbour", "replace", h.gateway, "lladdr", nobody, "dev", "eth0", "nud", "permanent")
}

// Deafen makes the way one-way: what is sent to the host is lost.
func (h *Host) Deafen() error {
	return h.near("neighbour", "replace", h.address, "lladdr", nobody, "dev", h.name, "nud", "permanent")
}

// Heal undoes Mute and Deafen.
func (h *Host) Heal() error {
	// Flush has nothing against there being none.
	return errors.Join(
		h.ip("neighbour", "flush", "dev", "eth0", "nud", "permanent"),
		h.near("neighbour", "flush", "dev", h.name, "nud", "permanent"),
	)
}

// Throttle bounds what is sent to the host, in bytes per second. Not every kernel can. The host must not be behind another.
func (h *Host) Throttle(rate int) error {
	_, err := command("tc", "qdisc", "replace", "dev", h.name, "root", "tbf", "rate", strconv.Itoa(rate*8), "burst", "16kb", "latency", "1s")
	return err
}

// Received is how many bytes have come to the host over its cable, or a negative number if that is not known.
func (h *Host) Received() int64 {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(h.pid), "net", "dev"))
	if err != nil {
		return -1
	}
	_, counters, _ := strings.Cut(string(data), "eth0:")
	n := int64(-1)
	_, _ = fmt.Sscan(counters, &n)
	return n
}

// ip runs ip in the host's network.
func (h *Host) ip(args ...string) error {
	argv := []string{"nsenter", "--target", strconv.Itoa(h.pid), "--net", "--", "ip"}
	_, err := command(append(argv, args...)...)
	return err
}

// near runs ip on the near side of the host's wire.
func (h *Host) near(args ...string) error {
	if h.options.Behind != nil {
		return h.options.Behind.ip(args...)
	}
	_, err := command(append([]string{"ip"}, args...)...)
	return err
}

// command runs a command and returns what it prints.
func command(argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(failure.String()))
	}
	return string(out), err
}
