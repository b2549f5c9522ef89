package ship

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A disk is a directory, and what is mounted on it for the far side alone.
type disk struct {
	dir     string // below the test's directory
	options string // of a tmpfs
}

// startOn starts a shell in a mount namespace of its own.
func startOn(t *testing.T, shell []string, base string, disks []disk, env []string) *far {
	t.Helper()
	if os.Getuid() != 0 || exec.Command("unshare", "-m", "true").Run() != nil {
		missing(t, "mounting needs root, and a kernel that lets it")
	}
	var script strings.Builder
	for _, d := range disks {
		dir := filepath.Join(base, d.dir)
		if strings.HasPrefix(d.dir, "/") {
			dir = d.dir
		} else if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&script, "mount -t tmpfs -o %s none '%s' && ", d.options, dir)
	}
	script.WriteString(`exec "$@"`)
	return start(t, append([]string{"unshare", "-m", "--propagation", "private", "sh", "-c", script.String(), "sh"}, shell...), env)
}

// A directory that does not do is passed over, and the error says why if none does.
func TestDisks(t *testing.T) {
	image := program(t, 1<<20)
	elsewhere := []disk{{"/var/tmp", "ro"}, {"/dev/shm", "noexec"}}
	for name, test := range map[string]struct {
		disks []disk
		want  string // where the image goes to, below the test's directory
		stage Stage  // or the error
		text  string
	}{
		"read-only cache": {disks: []disk{{".cache", "ro"}}, want: ".afar/images"},
		"noexec cache":    {disks: []disk{{".cache", "noexec"}}, want: ".afar/images"},
		"full cache":      {disks: []disk{{".cache", "size=256k"}}, want: ".afar/images"},
		"tiny cache":      {disks: []disk{{".cache", "size=4k"}}, want: ".afar/images"},
		"no inodes":       {disks: []disk{{".cache", "nr_inodes=5"}}, want: ".afar/images"},
		"few inodes":      {disks: []disk{{".cache", "nr_inodes=6"}}, want: ".afar/images"},
		"read-only home":  {disks: []disk{{".cache", "ro"}, {".afar", "ro"}}, want: "tmp"},
		"tmp noexec":      {disks: []disk{{".cache", "ro"}, {".afar", "ro"}, {"tmp", "noexec"}, {"/var/tmp", "size=64m"}}, want: "/var/tmp"},
		"shm":             {disks: []disk{{".cache", "ro"}, {".afar", "ro"}, {"tmp", "noexec"}, {"/var/tmp", "size=256k"}, {"/dev/shm", "size=64m"}}, want: "/dev/shm"},
		"nothing":         {disks: append([]disk{{".cache", "ro"}, {".afar", "noexec"}, {"tmp", "ro"}}, elsewhere...), stage: StageNoDirectory, text: "cannot be executed"},
		"all full":        {disks: append([]disk{{".cache", "size=256k"}, {".afar", "size=128k"}, {"tmp", "size=64k"}}, elsewhere...), stage: StageNoSpace, text: "no space left"},
	} {
		t.Run(name, func(t *testing.T) {
			inShells(t, func(t *testing.T, shell []string) {
				base := t.TempDir()
				if err := os.Mkdir(filepath.Join(base, "tmp"), 0o700); err != nil {
					t.Fatal(err)
				}
				f := startOn(t, shell, base, test.disks, home(base, "TMPDIR="+base+"/tmp"))
				if test.stage != "" {
					_, err := Bootstrap(within(t), f, 0, give(image))
					wantError(t, err, test.stage, test.text)
					return
				}
				_, used := bootstrap(t, f, image)
				if !strings.HasPrefix(used, filepath.Join(base, test.want)) && !strings.HasPrefix(used, test.want) {
					t.Errorf("in %s, want %s", used, test.want)
				}
			})
		})
	}
}

// Few tools do not make a full disk look like a program.
func TestFullWithFewTools(t *testing.T) {
	image := program(t, 1<<20)
	for name, tools := range map[string][]string{
		"gzip":    {"uname", "mkdir", "head", "gzip", "chmod", "mv", "rm"},
		"hash":    {"uname", "mkdir", "head", "chmod", "mv", "rm", "sha256sum"},
		"nothing": {"uname", "mkdir", "head", "chmod", "mv"},
	} {
		t.Run(name, func(t *testing.T) {
			bin := applets(t, tools...)
			inShells(t, func(t *testing.T, shell []string) {
				base := t.TempDir()
				limited := append([]string{"env", "PATH=" + bin}, shell...)
				_, used := bootstrap(t, startOn(t, limited, base, []disk{{".cache", "size=256k"}}, home(base)), image)
				if want := filepath.Join(base, ".afar/images"); used != want {
					t.Errorf("in %s, want %s", used, want)
				}
			})
		})
	}
}
