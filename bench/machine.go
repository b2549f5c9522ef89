package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
)

// writeMachine says when, where and with which versions the session ran.
func writeMachine(b *strings.Builder, s *session) {
	fmt.Fprintf(b, "- date: %s, rounds: %d\n", s.began.UTC().Format("2006-01-02 15:04 MST"), s.rounds)
	fmt.Fprintf(b, "- tree: %s\n", revision())
	fmt.Fprintf(b, "- Go: %s %s/%s, GOMAXPROCS %d\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	fmt.Fprintf(b, "- OS: %s\n", operatingSystem())
	fmt.Fprintf(b, "- CPU: %s, %d cores\n", cpuModel(), runtime.NumCPU())
	fmt.Fprintf(b, "- Python: %s\n", pythonVersion())
	b.WriteString("- modules:")
	if info, ok := debug.ReadBuildInfo(); ok {
		for i, m := range info.Deps {
			if i > 0 {
				b.WriteByte(',')
			}
			version := m.Version
			if m.Replace != nil {
				version = "(this tree)"
			}
			fmt.Fprintf(b, " %s %s", m.Path, version)
		}
	}
	b.WriteByte('\n')
}

// revision names the commit that is measured, and says whether the tree differs from it.
func revision() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// operatingSystem names the kernel and, where there is /etc/os-release, the distribution.
func operatingSystem() string {
	name := runtime.GOOS
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		name += " " + strings.TrimSpace(string(release))
	}
	return name + field("/etc/os-release", "PRETTY_NAME", "=", ", ")
}

func cpuModel() string {
	return strings.TrimPrefix(field("/proc/cpuinfo", "model name", ":", " ")+" "+runtime.GOARCH, " ")
}

// field gives prefix and the first value of key in a file of lines "key separator value", or nothing.
func field(path, key, separator, prefix string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		k, v, ok := strings.Cut(line, separator)
		if ok && strings.TrimSpace(k) == key {
			return prefix + strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return ""
}
