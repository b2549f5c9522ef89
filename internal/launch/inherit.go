package launch

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Inherited is what a worker process got from the Local that started it.
type Inherited struct {
	ID    string // Spec.ID
	Image string // the ImageID that Local's caller says is this process's
	Name  string // Spec.Image
	Link  Link   // the worker's end
}

// Inherit tells whether Local started this process, and takes what Local handed over: it removes Local's variables
// from the environment, applies Spec.Nice, and makes sure that programs started by this one do not get the link. On
// Linux it also closes every other descriptor above 2 that was inherited (those without close-on-exec; the Go
// library opens none such). Only the first call in a process can give true.
//
// An error comes with true and no Inherited: the process was started as a worker and cannot be one. It is called
// early in main, before goroutines that open files or start programs.
func Inherit() (*Inherited, bool, error) {
	numbers, ok := os.LookupEnv(envLink)
	if !ok {
		return nil, false, nil
	}
	in := &Inherited{ID: os.Getenv(envWorker)}
	in.Image, in.Name, _ = strings.Cut(os.Getenv(envImage), "=")
	nice := os.Getenv(envNice)
	for _, name := range []string{envWorker, envImage, envLink, envNice} {
		_ = os.Unsetenv(name) // It fails for malformed names only.
	}
	read, write, shared, err := parseLink(numbers)
	if err == nil {
		in.Link, err = takeLink(read, write, shared)
	}
	if err != nil {
		return nil, true, fmt.Errorf("afar: the worker's link: %w", err)
	}
	if err := applyNice(nice); err != nil {
		return nil, true, fmt.Errorf("afar: the worker's niceness: %w", err)
	}
	return in, true, nil
}

// End ends this process with the given exit code, and with it every other process of its group, when it leads the
// group. It never returns. When the parent is gone too, and nobody could see the code, the process may end by SIGKILL
// instead.
func (in *Inherited) End(code int) {
	endGroup()
	os.Exit(code)
}

// parseLink reads the numbers of the descriptors; shared is 0 when there is none.
func parseLink(numbers string) (read, write, shared uintptr, err error) {
	into := []*uintptr{&read, &write, &shared}
	parts := strings.Split(numbers, ",")
	if len(parts) < 2 || len(parts) > len(into) {
		return 0, 0, 0, fmt.Errorf("%s=%q: want two or three numbers", envLink, numbers)
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, strconv.IntSize)
		if err != nil {
			return 0, 0, 0, fmt.Errorf("%s=%q: %w", envLink, numbers, err)
		}
		*into[i] = uintptr(n)
	}
	return read, write, shared, nil
}

func applyNice(value string) error {
	if value == "" || value == "0" {
		return nil
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("%s=%q: %w", envNice, value, err)
	}
	return renice(n)
}
