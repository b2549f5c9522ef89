package ship

import "strings"

// systems are the names that uname -s gives to the systems that Go has ports to.
var systems = map[string]string{
	"Linux":     "linux",
	"Darwin":    "darwin",
	"FreeBSD":   "freebsd",
	"NetBSD":    "netbsd",
	"OpenBSD":   "openbsd",
	"DragonFly": "dragonfly",
}

// machines are the names that uname -m gives to Go's architectures. MIPS is not among them: it tells the byte order of
// neither the processor nor the programs.
var machines = map[string]string{
	"x86_64":      "amd64",
	"amd64":       "amd64",
	"i386":        "386",
	"i486":        "386",
	"i586":        "386",
	"i686":        "386",
	"i686-AT386":  "386",
	"x86":         "386",
	"aarch64":     "arm64",
	"arm64":       "arm64",
	"evbarm":      "arm64",
	"armv6l":      "arm",
	"armv7l":      "arm",
	"armv8l":      "arm",
	"arm":         "arm",
	"riscv64":     "riscv64",
	"ppc64le":     "ppc64le",
	"ppc64":       "ppc64",
	"s390x":       "s390x",
	"loongarch64": "loong64",
}

// systemOf returns Go's name for what uname -sm printed, or "".
func systemOf(uname string) string {
	words := strings.Fields(uname)
	if len(words) != 2 || systems[words[0]] == "" || machines[words[1]] == "" {
		return ""
	}
	return systems[words[0]] + "/" + machines[words[1]]
}

// splitSystem takes "linux/amd64" apart.
func splitSystem(system string) (goos, goarch string, ok bool) {
	goos, goarch, ok = strings.Cut(system, "/")
	return goos, goarch, ok && word(goos) && word(goarch)
}

// word tells whether a name can be part of a file's name and of a command.
func word(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// staticOnly tells whether a program without an interpreter is what an operating system asks for. On the others every
// program is linked with the system's own library, which is always there.
func staticOnly(goos string) bool {
	switch goos {
	case "linux", "freebsd", "netbsd", "dragonfly":
		return true
	}
	return false
}
