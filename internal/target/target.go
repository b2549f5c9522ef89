// Package target reads the strings that say how workers are reached.
package target

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/afar-go/afar/internal/reach"
)

// Target is what a target string says.
type Target struct {
	Text    string         // as the user wrote it
	Process bool           // its workers are processes
	Remote  *reach.Address // of the host that they are on; nil: this one
	Workers int            // 0: as many as there are processors
	Dir     string
	Env     []string
	Nice    int

	scheme string
	id     string
}

// MaxWorkers bounds what one target asks for: beyond it is a typing error.
const MaxWorkers = 10_000

// defaultPort is where nodes listen.
const defaultPort = "7227"

// schemes are the kinds of targets, and how what is behind the colon is read, up to
// the parameters.
var schemes = map[string]func(t *Target, rest string) error{
	"inproc": (*Target).setNumber,
	"local":  (*Target).setNumber,
	"ssh":    (*Target).setSSH,
	"exec":   (*Target).setExec,
	"tcp":    (*Target).setTCP,
	"unix":   (*Target).setUnix,
}

// Parse reads a target: scheme:what?key=value&…
func Parse(text string) (*Target, error) {
	scheme, rest, found := strings.Cut(text, ":")
	set := schemes[scheme]
	if set == nil || !found {
		return nil, fmt.Errorf("afar: target %q: unknown scheme %q; known are %s", text, scheme,
			strings.Join(slices.Sorted(maps.Keys(schemes)), ", "))
	}
	t := &Target{Text: text, scheme: scheme, Process: scheme != "inproc"}
	what, params, err := t.split(rest)
	if err != nil {
		return nil, t.Wrong("%w", err)
	}
	if err := set(t, what); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(params)) {
		if len(params[key]) > 1 {
			return nil, t.Wrong("%s is given %d times", key, len(params[key]))
		}
		if err := t.set(key, params[key][0]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Wrong is an error about the target.
func (t *Target) Wrong(format string, args ...any) error {
	return fmt.Errorf("afar: target %q: "+format, append([]any{t.Text}, args...)...)
}

// split takes the parameters off. A command may have question marks of its own:
// only what is behind the last one, and has the form of parameters, is theirs.
func (t *Target) split(rest string) (string, url.Values, error) {
	at := strings.Index(rest, "?")
	if t.scheme == "exec" {
		if at = strings.LastIndex(rest, "?"); at >= 0 && !strings.Contains(rest[at:], "=") {
			at = -1
		}
	}
	if at < 0 {
		return rest, nil, nil
	}
	params, err := url.ParseQuery(rest[at+1:])
	return rest[:at], params, err
}

func (t *Target) setNumber(rest string) error {
	if rest == "" {
		return nil
	}
	return t.setWorkers(rest)
}

// authority reads //user@host:port.
func (t *Target) authority(rest string) (*url.URL, error) {
	u, err := url.Parse(t.scheme + ":" + rest)
	switch {
	case err != nil:
		return nil, t.Wrong("%w", err)
	case u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-") || strings.ContainsFunc(u.Hostname(), unicode.IsSpace):
		return nil, t.Wrong("it needs a host, as in %s://host", t.scheme)
	case strings.Trim(u.Path, "/") != "" || u.Fragment != "":
		return nil, t.Wrong("nothing may follow the host but ?parameters; a directory is dir=…")
	}
	if _, set := u.User.Password(); set {
		return nil, t.Wrong("passwords are not for targets; use keys")
	}
	if strings.HasPrefix(u.User.Username(), "-") {
		return nil, t.Wrong("%q is not a user", u.User.Username())
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, t.Wrong("a port is a number from 1 to 65535, not %q", port)
		}
	}
	return u, nil
}

func (t *Target) setSSH(rest string) error {
	u, err := t.authority(rest)
	if err == nil {
		t.Remote = &reach.Address{Scheme: t.scheme, User: u.User.Username(), Host: u.Hostname(), Port: u.Port()}
	}
	return err
}

func (t *Target) setTCP(rest string) error {
	u, err := t.authority(rest)
	if err != nil {
		return err
	}
	if u.User.Username() != "" {
		return t.Wrong("a node knows callers by their keys, not by users")
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = defaultPort
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	t.Remote = &reach.Address{Scheme: t.scheme, Host: u.Hostname(), Network: host + ":" + port}
	return nil
}

func (t *Target) setUnix(rest string) error {
	path := strings.TrimPrefix(rest, "//")
	if path == "" {
		return t.Wrong("it needs a path, as in unix:/run/afar.sock")
	}
	t.Remote = &reach.Address{Scheme: t.scheme, Network: path}
	return nil
}

func (t *Target) setExec(rest string) error {
	argv, err := words(rest)
	if err != nil {
		return t.Wrong("%w", err)
	}
	if len(argv) == 0 {
		return t.Wrong("it needs a command that gives a shell, as in exec:docker exec -i web1")
	}
	t.Remote = &reach.Address{Scheme: t.scheme, Command: argv}
	return nil
}

// words splits a command as a shell does: at spaces, but for quotes and backslashes.
func words(command string) (argv []string, err error) {
	var word strings.Builder
	var quote rune
	inside, escaped := false, false
	for _, r := range command {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inside = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inside = r, true
		case unicode.IsSpace(r):
			if inside {
				argv = append(argv, word.String())
			}
			word.Reset()
			inside = false
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("the command ends inside a quote")
	}
	if inside {
		argv = append(argv, word.String())
	}
	return argv, nil
}

func (t *Target) setWorkers(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > MaxWorkers {
		return t.Wrong("the number of workers must be from 1 to %d, not %q", MaxWorkers, value)
	}
	if t.Workers != 0 && t.Workers != n {
		return t.Wrong("%d workers and workers=%d contradict each other", t.Workers, n)
	}
	t.Workers = n
	return nil
}

// maxID bounds the length of a worker's id in bytes.
const maxID = 100

const targetKeys = "config (of ssh), dir, env.NAME, id, nice, workers"

func (t *Target) set(key, value string) error {
	name, isEnv := strings.CutPrefix(key, "env.")
	switch {
	case key == "workers":
		return t.setWorkers(value)
	case key == "id":
		if value == "" || len(value) > maxID || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return t.Wrong("an id has 1 to %d printable characters, not %q", maxID, value)
		}
		t.id = value
		return nil
	case key == "config" && t.scheme == "ssh":
		if value == "" {
			return t.Wrong("empty config")
		}
		t.Remote.Config = value
		return nil
	case key != "dir" && key != "nice" && !isEnv:
		return t.Wrong("unknown parameter %q; known are %s", key, targetKeys)
	case !t.Process:
		return t.Wrong("%s needs a process of its own, which inproc workers do not have", key)
	case key == "dir":
		if value == "" {
			return t.Wrong("empty dir")
		}
		t.Dir = value
	case isEnv:
		if name == "" || strings.ContainsAny(name+value, "\x00") || strings.Contains(name, "=") {
			return t.Wrong("bad environment variable %q", key)
		}
		t.Env = append(t.Env, name+"="+value)
	default:
		n, err := strconv.Atoi(value)
		if err != nil || n < -20 || n > 19 {
			return t.Wrong("nice must be from -20 to 19, not %q", value)
		}
		t.Nice = n
	}
	return nil
}

// OneID returns the id of a target's only worker, if it says one.
func (t *Target) OneID() string { return t.id }

// Name is what the target's workers are called by: the host, or the scheme.
func (t *Target) Name() string {
	if t.Remote != nil && t.Remote.Host != "" {
		return t.Remote.Host
	}
	return t.scheme
}

// IDs returns the ids of the target's workers; first counts those of targets
// without an id by name.
func (t *Target) IDs(first map[string]int) []string {
	base := t.id
	if t.id != "" && t.Workers == 1 {
		return []string{t.id}
	}
	if base == "" {
		base = t.Name()
	}
	ids := make([]string, t.Workers)
	for i := range ids {
		first[base]++
		ids[i] = fmt.Sprintf("%s-%d", base, first[base])
	}
	return ids
}
