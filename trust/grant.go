package trust

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A Grant is one line of authorized_keys: whom it lets in, and how far. The
// line has the limits in front of the key, separated by commas, as in ssh:
//
//	workers=4,memory="2GiB",queues="a,b" afar-ed25519 <base64> comment
//
// A limit that a line does not have is not limited. One that is not understood
// is an error, and so is one that is there twice.
type Grant struct {
	Key     PublicKey
	Comment string

	// Workers is how many workers the caller may have at once; 0 is no limit.
	// As an option: workers=4.
	Workers int
	// Memory is for each worker, in bytes; 0 is no limit. As an option:
	// memory="2GiB", with B, KiB, MiB, GiB or TiB, or a number of bytes. Less
	// than 16 MiB is an error: no Go program runs in it, and a unit was forgotten.
	Memory int64
	// CPU is for all workers together, in processors; 0 is no limit. As an
	// option: cpu=1.5.
	CPU float64
	// Queues are the queues that the caller may use; none means all. As an
	// option: queues="a,b".
	Queues []string
	// Expires is when the grant ends; zero is never. As an option:
	// expires="2026-12-31T18:00:00Z" (RFC 3339), or expires="2026-12-31", which
	// is through the end of that day in UTC.
	Expires time.Time
	// From are the addresses from which the caller may come; none means all.
	// As an option: from="10.0.0.0/8,192.168.1.*,!10.6.6.6". Names are not
	// looked up. One that begins with ! is refused even if another one allows
	// it. The address of a caller on a unix socket is the word unix.
	From []string
	// Commands lets the caller's tasks be commands of the host. As an option, the word
	// commands.
	Commands bool
	// Revoked means that the key is refused, whatever other lines say. As an
	// option, the word revoked.
	Revoked bool

	// Line is where the grant is in its file, from 1; 0 if it is in none.
	Line int
}

// ParseGrant reads a line of authorized_keys. Line is 0 in what it returns.
func ParseGrant(line string) (Grant, error) {
	grant, err := parseGrant(line)
	if err != nil {
		return Grant{}, fmt.Errorf("trust: %w", err)
	}
	return grant, nil
}

// parseGrant is ParseGrant for errors that say where the line is.
func parseGrant(line string) (Grant, error) {
	line = strings.TrimSpace(line)
	if err := checkText(line); err != nil {
		return Grant{}, err
	}
	var grant Grant
	if word, _ := cutWord(line); word != keyType {
		options, rest, err := cutOptions(line)
		if err != nil {
			return Grant{}, err
		}
		for _, o := range options {
			if err := grant.set(o); err != nil {
				return Grant{}, err
			}
		}
		line = rest
	}
	var err error
	grant.Key, grant.Comment, err = parsePublicKey(line)
	if err != nil {
		return Grant{}, err
	}
	return grant, nil
}

// String returns the line that ParseGrant reads.
func (g Grant) String() string {
	var options []string
	add := func(there bool, option string) {
		if there {
			options = append(options, option)
		}
	}
	add(g.Commands, "commands")
	add(g.Revoked, "revoked")
	add(g.Workers != 0, "workers="+strconv.Itoa(g.Workers))
	add(g.Memory != 0, "memory="+strconv.Quote(formatSize(g.Memory)))
	add(g.CPU != 0, "cpu="+strconv.FormatFloat(g.CPU, 'g', -1, 64))
	add(g.Queues != nil, `queues="`+strings.Join(g.Queues, ",")+`"`)
	add(!g.Expires.IsZero(), `expires="`+g.Expires.UTC().Format(time.RFC3339Nano)+`"`)
	add(g.From != nil, `from="`+strings.Join(g.From, ",")+`"`)
	line := g.Key.String()
	if len(options) > 0 {
		line = strings.Join(options, ",") + " " + line
	}
	return strings.TrimRight(line+" "+g.Comment, " ")
}

// line returns the line for a grant, if what will be read from it is the grant
// again: no field of it may break out of its place.
func (g Grant) line() (string, error) {
	line := g.String()
	back, err := parseGrant(line)
	if err != nil {
		return "", err
	}
	if !back.Expires.Equal(g.Expires) {
		return "", fmt.Errorf("the time %s would be read as %s", g.Expires, back.Expires)
	}
	back.Expires, back.Line = g.Expires, g.Line
	if !reflect.DeepEqual(back, g) {
		return "", fmt.Errorf("%+v would be read as %+v", g, back)
	}
	return line, nil
}

// clone returns a grant that shares nothing with g.
func (g Grant) clone() Grant {
	g.Queues, g.From = slices.Clone(g.Queues), slices.Clone(g.From)
	return g
}

// set applies one option.
func (g *Grant) set(o option) error {
	if word := g.word(o.name); word != nil {
		if o.given {
			return fmt.Errorf("option %s has no value", o.name)
		}
		*word = true
		return nil
	}
	parse, ok := optionParsers[o.name]
	if !ok {
		return fmt.Errorf("unknown option %q", shorten(o.name))
	}
	if !o.given {
		return fmt.Errorf("option %s needs a value: %s=…", o.name, o.name)
	}
	if err := parse(g, o.value); err != nil {
		return fmt.Errorf("option %s=%q: %w", o.name, shorten(o.value), err)
	}
	return nil
}

// word returns what an option without a value sets, nil if it takes one.
func (g *Grant) word(name string) *bool {
	switch name {
	case "revoked":
		return &g.Revoked
	case "commands":
		return &g.Commands
	}
	return nil
}

// optionParsers has every option that takes a value.
var optionParsers = map[string]func(g *Grant, value string) error{
	"workers": func(g *Grant, value string) (err error) {
		g.Workers, err = parseCount(value)
		return err
	},
	"memory": func(g *Grant, value string) (err error) {
		g.Memory, err = parseSize(value)
		return err
	},
	"cpu": func(g *Grant, value string) (err error) {
		g.CPU, err = parseCPU(value)
		return err
	},
	"queues": func(g *Grant, value string) (err error) {
		g.Queues, err = parseQueues(value)
		return err
	},
	"expires": func(g *Grant, value string) (err error) {
		g.Expires, err = parseExpiry(value)
		return err
	},
	"from": func(g *Grant, value string) (err error) {
		g.From, err = parseFrom(value)
		return err
	},
}

// An option is what stands between two commas in front of a key.
type option struct {
	name, value string
	given       bool // there is a value, if only an empty one
}

// cutOptions takes the options off the front of a line. A value may be quoted,
// with \" for a quote in it; unquoted, it ends at a comma or at white space.
func cutOptions(line string) (options []option, rest string, err error) {
	seen := map[string]bool{}
	for rest = line; ; rest = rest[1:] {
		end := strings.IndexAny(rest, "=, \t")
		if end < 0 {
			end = len(rest)
		}
		o := option{name: rest[:end]}
		rest = rest[end:]
		if strings.HasPrefix(rest, "=") {
			o.given = true
			if o.value, rest, err = cutValue(rest[1:]); err != nil {
				return nil, "", fmt.Errorf("option %s: %w", shorten(o.name), err)
			}
		}
		switch {
		case o.name == "":
			return nil, "", errors.New("an option has no name")
		case seen[o.name]:
			return nil, "", fmt.Errorf("option %q is there twice", shorten(o.name))
		}
		seen[o.name] = true
		options = append(options, o)
		switch {
		case rest == "":
			return nil, "", fmt.Errorf("no key: a line is options, %s, the key, and a comment", keyType)
		case rest[0] != ',':
			return options, strings.TrimLeft(rest, " \t"), nil
		}
	}
}

// cutValue takes one value off the front of s. What follows it begins with a
// comma or with white space, or is empty.
func cutValue(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		if strings.Contains(s[:end], `"`) {
			return "", "", errors.New("a quote inside a value that is not quoted")
		}
		return s[:end], s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == '"':
			i++
			b.WriteByte('"')
		case s[i] == '"':
			rest = s[i+1:]
			if rest != "" && !strings.ContainsRune(", \t", rune(rest[0])) {
				return "", "", errors.New("something follows the closing quote")
			}
			return b.String(), rest, nil
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", errors.New("the closing quote is missing")
}

// parseCount reads a number of workers. 0 is refused because it would mean that
// there is no limit; who wants none at all writes revoked.
func parseCount(value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil || n == 0 {
		return 0, errors.New("not a whole number of at least 1")
	}
	return int(n), nil
}

// sizeUnits are the units of memory, the largest first.
var sizeUnits = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// minMemory is the least that memory= may be.
const minMemory = 16 << 20

// parseSize reads a number of bytes, with a unit or without.
func parseSize(value string) (int64, error) {
	number, unit := value, int64(1)
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(value, u.name); ok {
			number, unit = strings.TrimRight(n, " "), u.size
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	switch {
	case err != nil || n == 0:
		return 0, errors.New("not a size like 512MiB (units: B, KiB, MiB, GiB, TiB)")
	case int64(n) > math.MaxInt64/unit:
		return 0, errors.New("too large")
	case int64(n)*unit < minMemory:
		return 0, errors.New("less than 16MiB, in which no worker runs: write a unit, as in 512MiB or 2GiB (units: B, KiB, MiB, GiB, TiB)")
	}
	return int64(n) * unit, nil
}

// formatSize writes what parseSize reads.
func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// parseCPU reads a number of processors.
func parseCPU(value string) (float64, error) {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || !(n > 0) || math.IsInf(n, 0) {
		return 0, errors.New("not a number of processors like 1.5")
	}
	return n, nil
}

// parseQueues reads names of queues.
func parseQueues(value string) ([]string, error) {
	names := strings.Split(value, ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
		if names[i] == "" || strings.IndexFunc(names[i], notInName) >= 0 {
			return nil, errors.New("not a list of names like a,b")
		}
	}
	return names, nil
}

// notInName reports whether r cannot be in a queue's name in a line.
func notInName(r rune) bool {
	return r == '"' || r == '\\' || unicode.IsSpace(r) || !unicode.IsPrint(r)
}

// parseExpiry reads an instant, or a day, which is over when it is over in UTC.
func parseExpiry(value string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, value); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	instant, err := time.Parse(time.RFC3339, value)
	if err != nil || instant.IsZero() {
		return time.Time{}, errors.New("neither a day like 2026-12-31 nor RFC 3339 like 2026-12-31T18:00:00Z")
	}
	return instant.UTC(), nil
}
