package trust

import (
	"math"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseGrant(t *testing.T) {
	key := goldenKey(t).Public()
	day := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for options, want := range map[string]Grant{
		``:                                    {},
		`workers=4`:                           {Workers: 4},
		`workers="4"`:                         {Workers: 4},
		`memory="2GiB"`:                       {Memory: 2 << 30},
		`memory=2GiB`:                         {Memory: 2 << 30},
		`memory="512 MiB"`:                    {Memory: 512 << 20},
		`memory=16777216`:                     {Memory: 16 << 20},
		`memory=16777217B`:                    {Memory: 16<<20 + 1},
		`memory=16385KiB`:                     {Memory: 16385 << 10},
		`memory=1TiB`:                         {Memory: 1 << 40},
		`cpu=1.5`:                             {CPU: 1.5},
		`queues=a`:                            {Queues: []string{"a"}},
		`queues="a, b-1.c"`:                   {Queues: []string{"a", "b-1.c"}},
		`expires="2026-12-31"`:                {Expires: day},
		`expires=2027-01-01T00:00:00Z`:        {Expires: day},
		`expires="2027-01-01T02:00:00+02:00"`: {Expires: day},
		`from=10.0.0.0/8`:                     {From: []string{"10.0.0.0/8"}},
		`from="10.1.*, !10.1.2.3,2001:db8::/32,unix"`: {From: []string{"10.1.*", "!10.1.2.3", "2001:db8::/32", "unix"}},
		`revoked`: {Revoked: true},
		`workers=4,memory="2GiB",cpu=2,queues="a,b",revoked`: {Workers: 4, Memory: 2 << 30, CPU: 2,
			Queues: []string{"a", "b"}, Revoked: true},
	} {
		for _, comment := range []string{"", "ada@example", `"quoted", x=y # no comment`} {
			want.Key, want.Comment = key, comment
			line := strings.TrimSpace(options + " \t" + key.String() + "  " + comment)
			got, err := ParseGrant(line)
			if err != nil {
				t.Errorf("%s: %v", line, err)
				continue
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s\nis   %+v\nwant %+v", line, got, want)
			}
			if again, err := ParseGrant(got.String()); err != nil || !reflect.DeepEqual(again, got) {
				t.Errorf("%s\nis written as %s\nand read as %+v, %v", line, got, again, err)
			}
		}
	}
}

// A limit that is not understood must never be no limit.
func TestParseGrantErrors(t *testing.T) {
	key := goldenKey(t).Public().String()
	for options, want := range map[string]string{
		`worker=4`:                     `unknown option "worker"`,
		`Workers=4`:                    `unknown option "Workers"`,
		`command="sh"`:                 `unknown option "command"`,
		`workers`:                      `needs a value`,
		`workers=`:                     `at least 1`,
		`workers=0`:                    `at least 1`,
		`workers=-1`:                   `at least 1`,
		`workers=+1`:                   `at least 1`,
		`workers=1.5`:                  `at least 1`,
		`workers=99999999999`:          `at least 1`,
		`workers=4,workers=5`:          `"workers" is there twice`,
		`workers=4,,cpu=1`:             `no name`,
		`,workers=4`:                   `no name`,
		`=4`:                           `no name`,
		`workers=4,`:                   `no name`,
		`workers="4`:                   `closing quote is missing`,
		`workers=4"`:                   `quote inside`,
		`workers="4"5`:                 `follows the closing quote`,
		`memory=2GB`:                   `units: B, KiB`,
		`memory=2gib`:                  `units: B, KiB`,
		`memory=0`:                     `units: B, KiB`,
		`memory=-1`:                    `units: B, KiB`,
		`memory=1.5GiB`:                `units: B, KiB`,
		`memory=9999999TiB`:            `too large`,
		`memory=GiB`:                   `units: B, KiB`,
		`cpu=0`:                        `processors`,
		`cpu=-1`:                       `processors`,
		`cpu=NaN`:                      `processors`,
		`cpu=Inf`:                      `processors`,
		`queues=""`:                    `list of names`,
		`queues="a,,b"`:                `list of names`,
		`queues="a b"`:                 `list of names`,
		`queues="a\"b"`:                `list of names`,
		`expires=tomorrow`:             `neither a day`,
		`expires=2026-02-30`:           `neither a day`,
		`expires=20261231`:             `neither a day`,
		`expires=0001-01-01T00:00:00Z`: `neither a day`,
		`from=""`:                      `not an address`,
		`from="host.example.com"`:      `names are not looked up`,
		`from="*.example.com"`:         `names are not looked up`,
		`from="10.0.0.1/8"`:            `not the network 10.0.0.0/8`,
		`from="10.0.0.0/33"`:           `not a network`,
		`from="::ffff:10.0.0.0/104"`:   `write IPv4`,
		`from="::ffff:10.0.0.1"`:       `IPv4 ones as such`,
		`from="fe80::1%eth0"`:          `without zone`,
		`from="!10.0.0.1"`:             `at least one must be without the sign !`,
		`from="10.0.0.[12]"`:           `not an address`,
		`revoked=yes`:                  `has no value`,
	} {
		_, err := ParseGrant(options + " " + key)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
	for line, want := range map[string]string{
		`workers=4`:                    `no key`,
		`workers=4 ssh-ed25519 AAAA`:   `begins with "afar-ed25519"`,
		`workers=4 cpu=2 ` + key:       `begins with "afar-ed25519"`,
		`workers=4 afar-ed25519`:       `no key after`,
		key + " \x1b[2J":               `U+001B`,
		"workers=4\n" + key:            `U+000A`,
		"workers=4\u00a0" + key:        `U+00A0`,
		PublicKey{}.String() + " zero": `all zeros`,
	} {
		_, err := ParseGrant(line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}

// A grant made by a program must not become a line that says something else.
func TestAppendRefusesWhatCannotBeWritten(t *testing.T) {
	key := goldenKey(t).Public()
	for name, grant := range map[string]Grant{
		"no key":           {},
		"two lines":        {Key: key, Comment: "a\n" + newTestKey(t, "").String()},
		"negative workers": {Key: key, Workers: -1},
		"negative memory":  {Key: key, Memory: -1},
		"NaN":              {Key: key, CPU: math.NaN()},
		"no queue at all":  {Key: key, Queues: []string{}},
		"quote":            {Key: key, Queues: []string{`a",workers="9`}},
		"from a name":      {Key: key, From: []string{"example.com"}},
		"from nowhere":     {Key: key, From: []string{}},
	} {
		keys := AuthorizedKeys{Path: writeFile(t, "authorized_keys", "")}
		if err := keys.Append(grant); err == nil {
			t.Errorf("%s became %q", name, readFile(t, keys.Path))
		}
	}
}

func TestFrom(t *testing.T) {
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }
	for _, c := range []struct {
		from string
		addr net.Addr
		want bool
	}{
		{"10.0.0.0/8", tcp("10.255.0.1"), true},
		{"10.0.0.0/8", tcp("11.0.0.1"), false},
		{"10.0.0.0/8", tcp("::ffff:10.0.0.1"), true},
		{"10.0.0.1", tcp("10.0.0.1"), true},
		{"10.0.0.1", tcp("10.0.0.10"), false},
		{"10.0.0.?", tcp("10.0.0.1"), true},
		{"10.0.0.?", tcp("10.0.0.10"), false},
		{"10.*", tcp("10.2.3.4"), true},
		{"10.*", tcp("110.2.3.4"), false},
		{"*", tcp("2001:db8::1"), true},
		{"2001:db8::/32", tcp("2001:db8::1"), true},
		{"2001:db8:*", tcp("2001:db8::1"), true},
		{"2001:db8::1", tcp("2001:DB8:0::1"), true},
		{"fe80::/10", &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, true},
		{"10.0.0.0/8,!10.6.6.6", tcp("10.6.6.6"), false},
		{"!10.6.6.6,10.0.0.0/8", tcp("10.6.6.6"), false},
		{"!10.6.6.6,10.0.0.0/8", tcp("10.6.6.7"), true},
		{"0.0.0.0/0", tcp("2001:db8::1"), false},
		{"unix", &net.UnixAddr{Net: "unix"}, true},
		{"unix", tcp("10.0.0.1"), false},
		{"10.0.0.0/8", &net.UnixAddr{Net: "unix"}, false},
		{"*", nil, false},
		{"*", &net.TCPAddr{}, false},
		{"*", textAddr("pipe"), false},
		{"10.0.0.1", textAddr("10.0.0.1:99"), true},
	} {
		patterns, err := parseFrom(c.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := allowed(patterns, hostOf(c.addr)); got != c.want {
			t.Errorf("from=%q lets in %v: %t", c.from, c.addr, got)
		}
	}
	if allowed([]string{"*", "nonsense"}, hostOf(tcp("10.0.0.1"))) {
		t.Error("a pattern that is not understood lets in")
	}
}

// A textAddr is the address of some other kind of connection.
type textAddr string

func (a textAddr) Network() string { return "other" }
func (a textAddr) String() string  { return string(a) }
