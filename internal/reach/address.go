package reach

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"
)

// Address says how a host is reached. Which fields count depends on the scheme.
type Address struct {
	Scheme  string   // "ssh", "exec", "tcp" or "unix"
	User    string   // of ssh; "" is ssh's own choice
	Host    string   // of ssh
	Port    string   // of ssh; "" is ssh's own choice
	Config  string   // of ssh: its configuration file; "" is its own
	Command []string // of exec
	Network string   // what tcp and unix connect to: host:port, or a path
}

// command is what gives a shell that reads its standard input.
func (a *Address) command(keepalive time.Duration) []string {
	if a.Scheme == "exec" {
		if isShell(a.Command) {
			return a.Command
		}
		return append(a.Command[:len(a.Command):len(a.Command)], "sh")
	}
	seconds := strconv.Itoa(max(1, int(math.Ceil(keepalive.Seconds()))))
	argv := []string{"ssh", "-T", "-oBatchMode=yes", "-oConnectTimeout=10", "-oCompression=no", "-oClearAllForwardings=yes",
		"-oServerAliveInterval=" + seconds, "-oServerAliveCountMax=3"}
	for _, option := range [][2]string{{"-F", a.Config}, {"-l", a.User}, {"-p", a.Port}} {
		if option[1] != "" {
			argv = append(argv, option[0], option[1])
		}
	}
	// Whatever the login shell is, this replaces it by one that is known.
	return append(argv, "--", a.Host, "exec sh")
}

// isShell tells whether a command ends in a shell, which then reads its standard
// input.
func isShell(command []string) bool {
	last := command[len(command)-1]
	switch path.Base(last) {
	case "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh":
		return !strings.HasPrefix(last, "-")
	}
	return false
}

// String names the host for errors and logs.
func (a *Address) String() string {
	switch a.Scheme {
	case "ssh":
		host := a.Host
		if a.User != "" {
			host = a.User + "@" + host
		}
		return fmt.Sprintf("ssh to %s", host)
	case "exec":
		return strings.Join(a.Command, " ")
	}
	return a.Network
}
