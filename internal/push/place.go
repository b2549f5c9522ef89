package push

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Place is a directory of a host.
type Place struct {
	Host string // its name
	// Key is the same for the same directory only, by whatever name, and whether it
	// exists yet or not.
	Key string
}

func key(fi fs.FileInfo, path, rest string) string {
	return strings.Join([]string{machine(), identity(fi, path), rest}, "\x00")
}

// has tells whether a directory of this process is the one that the place is in,
// or is to be made in: then rest, with slashes, is the way from there, "" if it is
// the place itself.
func (p Place) has(fi fs.FileInfo, path string) (rest string, has bool) {
	rest, has = strings.CutPrefix(p.Key, key(fi, path, ""))
	return filepath.ToSlash(rest), has
}

// locate says which directory a path names in this process.
func locate(path string) (Place, error) {
	if path == "" {
		return Place{}, errors.New("push: the directory to push to has no name")
	}
	above, err := filepath.Abs(path)
	if err != nil {
		return Place{}, err
	}
	// The directory above that exists has an identity; the names below it are all
	// there is to what is still to be made.
	rest := ""
	for {
		fi, err := os.Stat(above)
		if err == nil {
			return Place{Host: hostname(), Key: key(fi, above, rest)}, nil
		}
		parent := filepath.Dir(above)
		if !errors.Is(err, fs.ErrNotExist) || parent == above {
			return Place{}, err
		}
		above, rest = parent, filepath.Join(filepath.Base(above), rest)
	}
}

// machine tells machines apart. Hosts may have one name; a running Linux kernel
// has an identity, within which a device and inode are one directory even for
// containers.
var machine = sync.OnceValue(func() string {
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		return string(id)
	}
	return hostname()
})

// hostname is "" when there is none, which serves as well.
func hostname() string {
	name, _ := os.Hostname()
	return name
}
