package launch

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// The variables through which Local talks to Inherit. Inherit removes them, so that programs which the worker
// starts are ordinary programs again.
const (
	envWorker = "AFAR_WORKER" // Spec.ID
	envImage  = "AFAR_IMAGE"  // ImageID of the parent
	envLink   = "AFAR_LINK"   // "read,write": the worker's descriptors (Windows: handles)
	envNice   = "AFAR_NICE"   // Spec.Nice
)

// Spec says how a worker is started. The zero value is useful: a worker without an ID, in the caller's
// directory, environment and niceness, whose output is discarded (but for [Exit.Stderr]).
type Spec struct {
	// ID is the worker's identity, handed to it as [Inherited.ID].
	ID string

	// Dir is the worker's working directory; "" is the caller's.
	Dir string

	// Env holds KEY=VALUE entries that are added to the caller's environment or override it. Of entries with
	// the same key the last counts.
	Env []string

	// Path is the program to start; "" is the one that runs.
	Path string

	// Image is what the worker calls its image if it is the very file that this process runs, or Path; "" is ImageID. It
	// saves workers the hashing.
	Image string

	// Adjust, if set, may change the command just before it is started: its credentials or its control group.
	Adjust func(*exec.Cmd)

	// Nice is added to the caller's niceness; 0 leaves it. Lowering it needs privileges: without them the
	// worker's Inherit fails.
	Nice int

	// Output is called in order with every line that the worker prints to its standard output or error, without
	// the newline. Lines longer than 64 KiB arrive in pieces; a last line without newline arrives at the end.
	// The slice is valid during the call only. All calls come from one goroutine per worker, the last one before
	// Done is closed; while Output blocks, a worker that prints blocks too. Nil discards the lines.
	Output func(line []byte)
}

// check finds the mistakes that the operating system would report badly, or not at all.
func (s *Spec) check() error {
	if s.Dir != "" {
		info, err := os.Stat(s.Dir)
		if err != nil {
			return fmt.Errorf("afar: working directory of the worker: %w", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("afar: working directory of the worker: %s is not a directory", s.Dir)
		}
	}
	for _, entry := range s.Env {
		// Windows has variables whose names begin with '=', so only the rest is searched.
		if entry == "" || !strings.Contains(entry[1:], "=") {
			return fmt.Errorf("afar: environment of the worker: %q is not KEY=VALUE", entry)
		}
	}
	return nil
}

// imageID returns what Inherited.Image will be: an ID and, if the image has another name, "=" and that.
func (s *Spec) imageID() (string, error) {
	id, err := ImageID()
	if s.Path != "" {
		var info os.FileInfo
		if info, err = os.Stat(s.Path); err == nil {
			id, err = fileID(nil, info)
		}
	}
	if err == nil && s.Image != "" {
		id += "=" + s.Image
	}
	return id, err
}

// environment completes base, the caller's environment, for a worker. Later entries win.
func (s *Spec) environment(base []string, image, link string) []string {
	env := make([]string, 0, len(base)+len(s.Env)+4)
	env = append(env, base...)
	env = append(env, s.Env...)
	return append(env,
		envWorker+"="+s.ID,
		envImage+"="+image,
		envLink+"="+link,
		envNice+"="+strconv.Itoa(s.Nice))
}
