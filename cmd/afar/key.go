package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar/internal/reach"
	"github.com/afar-go/afar/trust"
)

func keyCommand() *cli.Command {
	key := &cli.StringFlag{Name: "key", Usage: "file of your key; none: ~/.config/afar/key", Sources: cli.EnvVars(trust.KeyVariable)}
	known := &cli.StringFlag{Name: "known", Usage: "file of the nodes that you know; none: ~/.config/afar/known_nodes", Sources: cli.EnvVars(trust.KnownNodesVariable)}
	asJSON := &cli.BoolFlag{Name: "json", Usage: "print JSON"}
	return &cli.Command{
		Name: "key", Usage: "make and show keys, and say whom they open what",
		Commands: []*cli.Command{{
			Name: "new", Usage: "make your key",
			Flags:  []cli.Flag{key, &cli.StringFlag{Name: "comment", Usage: "for people; none: user@host"}},
			Action: newKey,
		}, {
			Name: "show", Usage: "print your public key, which is for others, and its fingerprint",
			Flags:  []cli.Flag{key, asJSON},
			Action: showKey,
		}, {
			Name: "list", Usage: "print who is let in here, and which nodes you know",
			Flags:  []cli.Flag{authorizedFlag(), known, asJSON},
			Action: listKeys,
		}, {
			Name: "authorize", Usage: "let a caller in, by its public key or the file of that", ArgsUsage: "KEY",
			Description: `   afar key authorize 'afar-ed25519 AAAA… me@there'
   afar key authorize --workers 8 --memory 2GiB --cpu 4 --from 10.0.0.0/8 caller.pub
   afar key authorize --replace --workers 16 caller.pub

The flags become options of the key's line in the file, whose words may be used as well,
in front of the key: workers=8 memory=2GiB caller.pub. A key that is in the file, or
revoked there, needs --replace.`,
			Flags: []cli.Flag{authorizedFlag(),
				&cli.StringFlag{Name: "workers", Usage: "how many it may have at a time"},
				&cli.StringFlag{Name: "memory", Usage: "for each worker, at least 16MiB: 512MiB, 2GiB"},
				&cli.StringFlag{Name: "cpu", Usage: "processors for all its workers together: 1.5"},
				&cli.StringFlag{Name: "queues", Usage: "names of the queues whose tasks it may submit, separated by commas; none: of all"},
				&cli.BoolFlag{Name: "commands", Usage: "its tasks may be commands of this host: see afar queue submit"},
				&cli.StringFlag{Name: "from", Usage: "addresses that it may come from: 10.0.0.0/8,192.168.1.*"},
				&cli.StringFlag{Name: "expires", Usage: "when that ends: 2026-12-31, or RFC 3339"},
				&cli.BoolFlag{Name: "replace", Usage: "put this in the place of what the file says of the key, if only that it is revoked"}},
			Action: authorizeKey,
		}, {
			Name: "revoke", Usage: "let a caller in no more, by its key or fingerprint", ArgsUsage: "KEY|SHA256:…",
			Description: "Connections that it has stay open; new ones are refused at once.",
			Flags:       []cli.Flag{authorizedFlag()},
			Action:      revokeKey,
		}, {
			Name: "trust", Usage: "know a node from now on by the key that it has now", ArgsUsage: "HOST[:PORT] [SHA256:…]",
			Description: `It shows the fingerprint of the node's key, and asks. The node's owner sees the same
with afar key show. Nobody is asked with --yes, or if the fingerprint is given.`,
			Flags:  []cli.Flag{key, known, &cli.BoolFlag{Name: "yes", Usage: "do not ask"}},
			Action: trustNode,
		}},
	}
}

// filesOf are the files that flags and environment name.
func filesOf(c *cli.Command) (trust.Files, error) {
	files, err := trust.DefaultFiles()
	for _, f := range []struct {
		flag string
		path *string
	}{{"key", &files.Key}, {"authorized", &files.AuthorizedKeys}, {"known", &files.KnownNodes}} {
		*f.path = cmp.Or(c.String(f.flag), *f.path)
	}
	if err != nil && files.Key+files.AuthorizedKeys+files.KnownNodes != "" {
		err = nil // there is no home, and what is needed was named
	}
	return files, err
}

func newKey(_ context.Context, c *cli.Command) error {
	if err := none(c); err != nil {
		return err
	}
	files, err := filesOf(c)
	if err != nil {
		return err
	}
	comment := c.String("comment")
	if comment == "" {
		host, _ := os.Hostname()
		comment = "user@" + host
		if u, err := user.Current(); err == nil {
			comment = u.Username + "@" + host
		}
	}
	key, err := trust.NewKey(comment)
	if err != nil {
		return usage("%w", err)
	}
	err = key.Save(files.Key)
	if _, missing := os.Lstat(files.Key); errors.Is(err, fs.ErrExist) && missing == nil {
		return fmt.Errorf("there is a key in %s already: afar key show prints it; --key names another file", files.Key)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Root().Writer, "%s\n%s\n", key, key.Public().Fingerprint())
	return err
}

func showKey(_ context.Context, c *cli.Command) error {
	if err := none(c); err != nil {
		return err
	}
	files, err := filesOf(c)
	if err != nil {
		return err
	}
	key, err := trust.LoadKey(files.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no key in %s: %s makes one", files.Key, newKeyCommand(files.Key))
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, map[string]string{"key": key.Public().String(), "comment": key.Comment(),
			"fingerprint": key.Public().Fingerprint(), "file": files.Key})
	}
	_, err = fmt.Fprintf(c.Root().Writer, "%s\n%s\n", key, key.Public().Fingerprint())
	return err
}

// newKeyCommand is what makes the key in a file.
func newKeyCommand(path string) string {
	if usual, err := trust.DefaultFiles(); err == nil && path == cmp.Or(os.Getenv(trust.KeyVariable), usual.Key) {
		return "afar key new"
	}
	return "afar key new --key " + path
}

func printJSON(c *cli.Command, v any) error {
	e := json.NewEncoder(c.Root().Writer)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// listed is a line of a list, for machines.
type listed struct {
	Kind        string     `json:"kind"` // "caller" or "node"
	Fingerprint string     `json:"fingerprint"`
	Key         string     `json:"key"`
	Address     string     `json:"address,omitempty"`
	Comment     string     `json:"comment,omitempty"`
	Workers     int        `json:"workers,omitempty"`
	Memory      int64      `json:"memory,omitempty"`
	CPU         float64    `json:"cpu,omitempty"`
	Queues      []string   `json:"queues,omitempty"`
	From        []string   `json:"from,omitempty"`
	Expires     *time.Time `json:"expires,omitempty"`
	Commands    bool       `json:"commands,omitempty"`
	Revoked     bool       `json:"revoked,omitempty"`
}

func listKeys(_ context.Context, c *cli.Command) error {
	if err := none(c); err != nil {
		return err
	}
	files, err := filesOf(c)
	if err != nil {
		return err
	}
	grants, err := (&trust.AuthorizedKeys{Path: files.AuthorizedKeys}).List()
	if err != nil {
		return err
	}
	nodes, err := (&trust.KnownNodes{Path: files.KnownNodes}).Keys()
	if err != nil {
		return err
	}
	all := []listed{} // so that it is a list also in JSON when nobody is in it
	for _, g := range grants {
		l := listed{Kind: "caller", Fingerprint: g.Key.Fingerprint(), Key: g.Key.String(), Comment: g.Comment,
			Workers: g.Workers, Memory: g.Memory, CPU: g.CPU, Queues: g.Queues, From: g.From, Commands: g.Commands, Revoked: g.Revoked}
		if !g.Expires.IsZero() {
			l.Expires = &g.Expires
		}
		all = append(all, l)
	}
	var addresses []string
	for address := range nodes {
		addresses = append(addresses, address)
	}
	slices.Sort(addresses)
	for _, address := range addresses {
		for _, k := range nodes[address] {
			all = append(all, listed{Kind: "node", Fingerprint: k.Fingerprint(), Key: k.String(), Address: address})
		}
	}
	if c.Bool("json") {
		return printJSON(c, all)
	}
	for i, l := range all {
		text := l.Address
		if l.Kind == "caller" {
			options, _, _ := strings.Cut(grants[i].String(), l.Key)
			text = strings.TrimSpace(l.Comment + "  " + options)
		}
		if _, err := fmt.Fprintf(c.Root().Writer, "%-6s  %s  %s\n", l.Kind, l.Fingerprint, text); err != nil {
			return err
		}
	}
	return nil
}

func authorizeKey(_ context.Context, c *cli.Command) error {
	files, err := filesOf(c)
	if err != nil {
		return err
	}
	options, line, err := callerLine(c)
	if err != nil {
		return err
	}
	for _, name := range []string{"workers", "memory", "cpu", "queues", "from", "expires"} {
		if c.IsSet(name) { // An empty one is refused: it would be no limit.
			options = append(options, fmt.Sprintf("%s=%q", name, c.String(name)))
		}
	}
	if c.Bool("commands") {
		options = append(options, "commands")
	}
	if strings.HasPrefix(line, "SHA256:") {
		return usage("%s is a fingerprint: the whole key is needed, as afar key show prints it there", line)
	}
	grant, err := trust.ParseGrant(strings.TrimSpace(strings.Join(options, ",") + " " + line))
	switch {
	case err != nil:
		return usage("%w", err)
	case grant.Revoked:
		return usage("a key that is revoked does not come in: that is afar key revoke")
	case !grant.Expires.IsZero() && !time.Now().Before(grant.Expires):
		return usage("that has expired already, at %s: nobody would come in", grant.Expires.Format(time.RFC3339))
	}
	authorized := &trust.AuthorizedKeys{Path: files.AuthorizedKeys}
	if c.Bool("replace") {
		err = authorized.Replace(grant)
	} else {
		err = authorized.Append(grant)
	}
	if errors.Is(err, trust.ErrRevoked) || errors.Is(err, trust.ErrAuthorized) {
		err = fmt.Errorf("%w; afar key authorize --replace … puts what you say now in the place of that line, or edit it", err)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Root().Writer, "%s may come in: %s\n", grant.Key.Fingerprint(), files.AuthorizedKeys)
	return err
}

// optionWord is an option of authorized_keys at the beginning of a line, or several,
// and what follows.
var optionWord = regexp.MustCompile(`^((?:[a-z]+=|(?:revoked|commands)\b)(?:"[^"]*"|[^\s"])*)\s+(.+)$`)

// callerLine is the public key that the arguments are, or name the file of, and the
// options before it.
func callerLine(c *cli.Command) (options []string, line string, err error) {
	if !c.Args().Present() {
		return nil, "", usage("%s needs a key", c.FullName())
	}
	line = strings.TrimSpace(strings.Join(c.Args().Slice(), " "))
	for {
		parts := optionWord.FindStringSubmatch(line)
		if parts == nil {
			break
		}
		options, line = append(options, strings.Trim(parts[1], ", ")), parts[2]
	}
	if strings.Contains(line, "afar-ed25519 ") || strings.HasPrefix(line, "SHA256:") {
		return options, line, nil
	}
	line, err = publicLine(line)
	return options, line, err
}

// publicLine is the one line in the file of a public key.
func publicLine(path string) (string, error) {
	text, err := os.ReadFile(path)
	line := strings.TrimSpace(string(text))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", usage("%q is neither a key, like 'afar-ed25519 AAAA… me@there', nor the file of one", path)
	case err != nil:
		return "", err
	case strings.HasPrefix(line, "-----BEGIN "):
		return "", usage("%s is the private half of a key; the public one is in %s.pub", path, path)
	case strings.Contains(line, "\n") || line == "":
		return "", usage("%s is not the file of a public key, which has one line, like 'afar-ed25519 AAAA… me@there'", path)
	}
	return line, nil
}

func revokeKey(_ context.Context, c *cli.Command) error {
	files, err := filesOf(c)
	if err != nil {
		return err
	}
	_, line, err := callerLine(c)
	if err != nil {
		return err
	}
	authorized := &trust.AuthorizedKeys{Path: files.AuthorizedKeys}
	grants, err := authorized.List()
	if err != nil {
		return err
	}
	for _, g := range grants {
		if g.Key.Fingerprint() != line && !strings.HasPrefix(line+" ", g.Key.String()+" ") {
			continue
		}
		if err := authorized.Revoke(g.Key); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.Root().Writer, "%s may come in no more: %s\n", g.Key.Fingerprint(), files.AuthorizedKeys)
		return err
	}
	return fmt.Errorf("%s is not in %s", line, files.AuthorizedKeys)
}

func trustNode(ctx context.Context, c *cli.Command) error {
	if n := c.Args().Len(); n < 1 || n > 2 {
		return usage("%s needs the address of a node, and perhaps its fingerprint", c.FullName())
	}
	address, err := nodeAddress(c.Args().First())
	if err != nil {
		return err
	}
	if print := c.Args().Get(1); c.Args().Len() > 1 && !strings.HasPrefix(print, "SHA256:") {
		return usage("%q is not a fingerprint, as SHA256:…", print)
	}
	files, err := filesOf(c)
	if err != nil {
		return err
	}
	key, err := keyOf(ctx, address, files)
	if err != nil {
		return err
	}
	known := &trust.KnownNodes{Path: files.KnownNodes}
	err = known.Check(address, key, false)
	if err != nil && !errors.Is(err, trust.ErrUnknownNode) {
		return err
	}
	wanted := c.Args().Get(1)
	switch {
	case wanted != "" && wanted != key.Fingerprint():
		return fmt.Errorf("%s has another key: %s", address, key.Fingerprint())
	case err != nil && wanted == "" && !c.Bool("yes"):
		fmt.Fprintf(c.Root().ErrWriter, "The key of %s is %s\nIs that what its owner sees with afar key show? [yes/no] ", address, key.Fingerprint())
		answer, _ := bufio.NewReader(c.Root().Reader).ReadString('\n')
		switch strings.TrimSpace(answer) {
		case "yes":
		case "":
			return fmt.Errorf("nobody answered, so %s is not trusted; without a question: afar key trust %s %s, or --yes for any key",
				address, address, key.Fingerprint())
		default:
			return fmt.Errorf("%s is not trusted", address)
		}
	}
	if err := known.Add(address, key); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Root().Writer, "%s is known by %s: %s\n", address, key.Fingerprint(), files.KnownNodes)
	return err
}

// nodeAddress is how known_nodes names what a user calls host, host:port or a target.
func nodeAddress(text string) (string, error) {
	address := strings.TrimPrefix(text, "tcp://")
	address, _, _ = strings.Cut(address, "?")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), strings.TrimPrefix(defaultListen, ":")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	_, notIP := netip.ParseAddr(host)
	if err != nil || number == 0 || host == "" || notIP != nil && strings.ContainsAny(host, ":/@ ") {
		return "", usage("%q is not the address of a node, like host, host:7227 or tcp://host", text)
	}
	return net.JoinHostPort(host, port), nil
}

// keyOf asks a node for its key, and has it proven.
func keyOf(ctx context.Context, address string, files trust.Files) (trust.PublicKey, error) {
	own, err := trust.LoadKey(files.Key)
	if errors.Is(err, os.ErrNotExist) {
		own, err = trust.NewKey("") // The node proves its key to anybody.
	}
	if err != nil {
		return trust.PublicKey{}, err
	}
	dir, err := os.MkdirTemp("", "afar-")
	if err != nil {
		return trust.PublicKey{}, err
	}
	defer os.RemoveAll(dir)
	conn, err := trust.Dial(ctx, address)
	if err != nil {
		return trust.PublicKey{}, reach.Dialed(address, err)
	}
	// In a file of its own the key is written down once it is proven, and before the node decides on ours.
	first := &trust.KnownNodes{Path: filepath.Join(dir, "known_nodes")}
	link, err := trust.Client(ctx, conn, &trust.ClientConfig{Key: own, Address: address, Known: first, TrustFirst: true})
	if err == nil {
		_ = link.Close()
	}
	keys, listErr := first.Keys()
	for _, found := range keys {
		return found[0], nil
	}
	return trust.PublicKey{}, errors.Join(err, listErr)
}
