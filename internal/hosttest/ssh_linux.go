package hosttest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// daemon is the configuration of a host's sshd.
const daemon = `Port 22
ListenAddress %s
HostKey /run/host/host_key
AuthorizedKeysFile /run/host/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
PidFile none
PrintMotd no
MaxStartups 200
MaxSessions 200
%s`

// client is the configuration of ssh for a host.
const client = `Host %s %s
HostName %[2]s
User root
IdentityFile %[3]s/id
IdentitiesOnly yes
IdentityAgent none
UserKnownHostsFile %[3]s/known_hosts
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
ControlPath %[4]s
`

// user is the key that one may log in with, the same on all hosts of this process.
var user = sync.OnceValues(func() (*pair, error) { return generate() })

// pair is a key in ssh's file formats.
type pair struct{ private, public string }

// generate makes a key.
func generate() (*pair, error) {
	dir, err := os.MkdirTemp("", "afar-key-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "key")
	if _, err := command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "hosttest", "-f", path); err != nil {
		return nil, err
	}
	private, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	public, err := os.ReadFile(path + ".pub")
	return &pair{string(private), string(public)}, err
}

// keys makes the host's key and the files of both sides' ssh. Those that are the users' are also in /root/.ssh, so that
// one can go on from host to host.
func (h *Host) keys() error {
	key, err := generate()
	if err != nil {
		return err
	}
	user, err := user()
	if err != nil {
		return err
	}
	extra := ""
	if h.options.Busybox {
		extra = "ChrootDirectory " + "/run/host/root\n"
	}
	known := fmt.Sprintf("%s,%s %s", h.name, h.address, key.public)
	home := filepath.Join(h.dir, "home", ".ssh")
	err = os.Mkdir(home, 0o700)
	for name, text := range map[string]string{
		"host_key":        key.private,
		"authorized_keys": user.public,
		"sshd_config":     fmt.Sprintf(daemon, h.address, extra),
		"id":              user.private,
		"known_hosts":     known,
		"ssh_config":      fmt.Sprintf(client, h.name, h.address, h.dir, "none"),
		"master_config":   fmt.Sprintf(client, h.name, h.address, h.dir, h.dir+"/master"),
	} {
		err = errors.Join(err, h.write(name, text))
	}
	return errors.Join(err, h.introduce(home, user, known))
}

// introduce lets the host that this one is behind log in to it.
func (h *Host) introduce(home string, user *pair, known string) error {
	if h.options.Behind == nil {
		return errors.Join(os.WriteFile(filepath.Join(home, "id_ed25519"), []byte(user.private), 0o600))
	}
	path := h.options.Behind.Path("/root/.ssh/known_hosts")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(known)
	return errors.Join(err, f.Close())
}

// Config is the path of a configuration of ssh for this host.
func (h *Host) Config() string { return filepath.Join(h.dir, "ssh_config") }

// NewKey gives the host another key than the one that its callers know. It counts from the next StartSSH on.
func (h *Host) NewKey() error {
	key, err := generate()
	if err != nil {
		return err
	}
	return h.write("host_key", key.private)
}

// Ban takes the callers' key off the list of those who may log in.
func (h *Host) Ban() error { return h.write("authorized_keys", "") }

// StartSSH starts sshd and waits until it listens.
func (h *Host) StartSSH() error {
	before := h.log.length()
	if err := h.order("/usr/sbin/sshd -D -e -f /run/host/sshd_config </dev/null &"); err != nil {
		return err
	}
	return h.log.await("Server listening on", before)
}

// StopSSH kills sshd and its sessions, though not what they have started.
func (h *Host) StopSSH() error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		left := 0
		for _, p := range h.list() {
			// While the one that listens dies, a session may seem to be nobody's child.
			if strings.HasPrefix(p.comm, "sshd") {
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
				left++
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("hosttest: sshd of %s does not end", h.name)
		}
	}
}

// Master opens a connection that others can share, as ssh's ControlMaster, and returns a configuration of ssh that does
// so. It lasts as long as the host.
func (h *Host) Master() (config string, err error) {
	config = filepath.Join(h.dir, "master_config")
	cmd := exec.Command("ssh", "-F", config, "-M", "-N", "-oPermitLocalCommand=yes", "-oLocalCommand=echo ready",
		"-oServerAliveInterval=1", h.name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	h.mu.Lock()
	h.masters = append(h.masters, cmd)
	h.mu.Unlock()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		return "", fmt.Errorf("hosttest: no shared connection to %s: %q, %w", h.name, line, err)
	}
	return config, nil
}
