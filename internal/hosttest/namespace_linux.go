package hosttest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// script is a host's first process: it makes the host's file system what it is to be, and then does what it is told on
// standard input. As it is bash, it also takes in the processes that have lost their parents.
const script = `set -e
exec 3>&1 >&2
dir=$1 name=$2
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/sshd /run/host
mount --bind "$dir" /run/host
cd /run/host
mount --bind passwd /etc/passwd
mount --bind shadow /etc/shadow
. ./mounts
cd /
echo "$name" >/proc/sys/kernel/hostname
ip link set lo up
echo 1 >/proc/sys/net/ipv4/tcp_orphan_retries
set +e
echo ready >&3
exec 3>&-
while read -r order; do eval "$order"; done
`

// furnish makes the files of the host.
func (h *Host) furnish() error {
	for _, dir := range []string{"home", "tmp", "vartmp", "shm", "root"} {
		mode := os.FileMode(0o755)
		switch dir {
		case "home":
			mode = 0o700
		case "tmp", "vartmp", "shm":
			mode = 0o777 | os.ModeSticky
		}
		if err := errors.Join(os.Mkdir(filepath.Join(h.dir, dir), mode), os.Chmod(filepath.Join(h.dir, dir), mode)); err != nil {
			return err
		}
	}
	if err := h.accounts(); err != nil {
		return err
	}
	mounts, err := h.mounts()
	if err != nil {
		return err
	}
	return errors.Join(h.write("mounts", mounts), h.keys())
}

func (h *Host) write(name, text string) error {
	return os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600)
}

// accounts writes the host's users: this machine's, but that root has a shell and a home of the host's own, and may log
// in.
func (h *Host) accounts() error {
	shell := h.options.Shell
	switch {
	case shell == "" && h.options.Busybox:
		shell = "/bin/sh"
	case shell == "":
		shell = "/bin/bash"
	}
	for file, root := range map[string]string{"passwd": "root:x:0:0:root:/root:" + shell, "shadow": "root:*:19000:0:99999:7:::"} {
		data, err := os.ReadFile("/etc/" + file)
		if err != nil {
			return err
		}
		lines := []string{root}
		for line := range strings.Lines(string(data)) {
			if !strings.HasPrefix(line, "root:") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		if err := h.write(file, strings.Join(lines, "\n")+"\n"); err != nil {
			return err
		}
	}
	return os.Chmod(filepath.Join(h.dir, "passwd"), 0o644)
}

// mounts is the part of the script that depends on the options.
func (h *Host) mounts() (string, error) {
	var b strings.Builder
	if h.options.Space > 0 {
		fmt.Fprintf(&b, "mkdir disk; mount -t tmpfs -o size=%d tmpfs disk\n", h.options.Space)
		b.WriteString("for d in home tmp vartmp shm; do cp -a $d disk/; mount --bind disk/$d $d; done\n")
	}
	if h.options.NoExecHome {
		b.WriteString("mount --bind home home; mount -o remount,bind,noexec home\n")
	}
	if h.options.ReadOnlyHome {
		b.WriteString("mount --bind home home; mount -o remount,bind,ro home\n")
	}
	if h.options.Busybox {
		h.inside = "/run/host/root"
		return b.String() + chroot, h.applets()
	}
	if len(h.options.Without) > 0 || h.options.System != "" {
		fmt.Fprintf(&b, without, strings.Join(h.options.Without, " "), h.options.System)
	}
	b.WriteString("mount --rbind home /root; mount --rbind vartmp /var/tmp; mount --rbind shm /dev/shm; mount --rbind tmp /tmp\n")
	return b.String(), nil
}

// without replaces directories of commands by links to all of them but those that are to be missing, and says
// what uname is to say.
const without = `for d in /bin /sbin /usr/bin /usr/sbin /usr/local/bin; do
  [ ! -h $d ] || continue
  mkdir -p /run/all$d /run/some$d
  mount --bind $d /run/all$d
  find /run/all$d -mindepth 1 -maxdepth 1 -exec ln -s -t /run/some$d {} +
  (cd /run/some$d && rm -f %[1]s)
done
system='%[2]s'
if [ -n "$system" ]; then
  uname=/run/some$(readlink -f /usr/bin/uname)
  rm -f "$uname"
  printf '#!/bin/sh\n[ "$1" = -n ] && exec hostname\necho %%s\n' "$system" >"$uname"
  chmod 755 "$uname"
fi
for d in /bin /sbin /usr/bin /usr/sbin /usr/local/bin; do [ -h $d ] || mount --bind /run/some$d $d; done
`

// chroot is how the place of those who log in to a host with Busybox is made.
const chroot = `mkdir root/proc root/dev root/root root/tmp
mount -t proc proc root/proc
touch root/dev/null
mount --bind /dev/null root/dev/null
mount --rbind home root/root
mount --rbind tmp root/tmp
`

// applets puts busybox in place, with a link for each of its commands.
func (h *Host) applets() error {
	busybox, err := busyboxPath()
	if err != nil {
		return err
	}
	bin := filepath.Join(h.dir, "root", "bin")
	if err := os.MkdirAll(filepath.Join(h.dir, "root", "etc"), 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), data, 0o755); err != nil {
		return err
	}
	list, err := command(busybox, "--list")
	if err != nil {
		return err
	}
	without := map[string]bool{"busybox": true}
	for _, name := range h.options.Without {
		without[name] = true
	}
	for _, name := range strings.Fields(list) {
		if !without[name] {
			if err := os.Symlink("busybox", filepath.Join(bin, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// boot starts the host's first process, and with it the host.
func (h *Host) boot() error {
	cmd := exec.Command("bash", "--norc", "--noprofile", "-c", script, "host", h.dir, h.name)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC}
	orders, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	// Not StderrPipe: its end comes with the host's, not with the first process's.
	printed, print, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stderr = print
	err = cmd.Start()
	_ = print.Close()
	if err != nil {
		_ = printed.Close()
		return fmt.Errorf("start: %w", err)
	}
	h.init, h.pid, h.orders = cmd, cmd.Process.Pid, orders
	h.log.read(printed)
	line, err := bufio.NewReader(ready).ReadString('\n')
	if err != nil || line != "ready\n" {
		return fmt.Errorf("it does not boot: %q, %w", line, err)
	}
	return nil
}

// order has the first process do something.
func (h *Host) order(line string) error {
	_, err := io.WriteString(h.orders, line+"\n")
	return err
}

// wire lays the cable: its far end is the host's eth0.
func (h *Host) wire() error {
	pid, device := strconv.Itoa(h.pid), h.name
	lay := func() error {
		return h.near("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", pid)
	}
	if lay() != nil {
		// An earlier process with this block may have been killed while a cable was cut: its wire stays for a while.
		_ = h.near("link", "del", device)
		if err := lay(); err != nil {
			return err
		}
	}
	return errors.Join(
		h.near("address", "add", h.gateway+"/30", "dev", device),
		h.near("link", "set", device, "up"),
		h.ip("address", "add", h.address+"/30", "dev", "eth0"),
		h.ip("link", "set", "eth0", "up"),
	)
}
