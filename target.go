package afar

import (
	"fmt"
	"maps"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// target is what a target string says.
type target struct {
	text    string // as the user wrote it
	process bool   // local, not inproc
	workers int
	id      string
	dir     string
	env     []string
	nice    int
}

// maxWorkers bounds what one target asks for: beyond it is a typing error.
const maxWorkers = 10_000

// schemes are the kinds of targets, and whether they start processes.
var schemes = map[string]bool{"inproc": false, "local": true}

// parseTarget reads a target: scheme:N?key=value&…
func parseTarget(text string) (*target, error) {
	scheme, rest, found := strings.Cut(text, ":")
	process, known := schemes[scheme]
	if !known || !found {
		return nil, fmt.Errorf("afar: target %q: unknown scheme %q; known are %s", text, scheme,
			strings.Join(slices.Sorted(maps.Keys(schemes)), ", "))
	}
	t := &target{text: text, process: process}
	number, query, _ := strings.Cut(rest, "?")
	if number != "" {
		if err := t.setWorkers(number); err != nil {
			return nil, err
		}
	}
	params, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("afar: target %q: %w", text, err)
	}
	for _, key := range slices.Sorted(maps.Keys(params)) {
		if len(params[key]) > 1 {
			return nil, fmt.Errorf("afar: target %q: %s is given %d times", text, key, len(params[key]))
		}
		if err := t.set(key, params[key][0]); err != nil {
			return nil, err
		}
	}
	if t.workers == 0 {
		t.workers = runtime.GOMAXPROCS(0)
	}
	return t, nil
}

func (t *target) setWorkers(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxWorkers {
		return fmt.Errorf("afar: target %q: the number of workers must be from 1 to %d, not %q", t.text, maxWorkers, value)
	}
	if t.workers != 0 && t.workers != n {
		return fmt.Errorf("afar: target %q: %d workers and workers=%d contradict each other", t.text, t.workers, n)
	}
	t.workers = n
	return nil
}

// maxID bounds the length of a worker's id in bytes.
const maxID = 100

const targetKeys = "dir, env.NAME, id, nice, workers"

func (t *target) set(key, value string) error {
	name, isEnv := strings.CutPrefix(key, "env.")
	switch {
	case key == "workers":
		return t.setWorkers(value)
	case key == "id":
		if value == "" || len(value) > maxID || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return fmt.Errorf("afar: target %q: an id has 1 to %d printable characters, not %q", t.text, maxID, value)
		}
		t.id = value
		return nil
	case key != "dir" && key != "nice" && !isEnv:
		return fmt.Errorf("afar: target %q: unknown parameter %q; known are %s", t.text, key, targetKeys)
	case !t.process:
		return fmt.Errorf("afar: target %q: %s needs a process of its own, which inproc workers do not have", t.text, key)
	case key == "dir":
		if value == "" {
			return fmt.Errorf("afar: target %q: empty dir", t.text)
		}
		t.dir = value
	case isEnv:
		if name == "" || strings.ContainsAny(name+value, "\x00") || strings.Contains(name, "=") {
			return fmt.Errorf("afar: target %q: bad environment variable %q", t.text, key)
		}
		t.env = append(t.env, name+"="+value)
	default:
		n, err := strconv.Atoi(value)
		if err != nil || n < -20 || n > 19 {
			return fmt.Errorf("afar: target %q: nice must be from -20 to 19, not %q", t.text, value)
		}
		t.nice = n
	}
	return nil
}

// ids returns the ids of the target's workers; first counts those of targets
// without an id by scheme.
func (t *target) ids(first map[string]int) []string {
	base := t.id
	if t.id != "" && t.workers == 1 {
		return []string{t.id}
	}
	if base == "" {
		base, _, _ = strings.Cut(t.text, ":")
	}
	ids := make([]string, t.workers)
	for i := range ids {
		first[base]++
		ids[i] = fmt.Sprintf("%s-%d", base, first[base])
	}
	return ids
}
