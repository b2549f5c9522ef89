package trust

import (
	"bytes"
	"crypto/ed25519"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"
)

// seedLines are lines of all files, right and wrong.
func seedLines(f *testing.F) []string {
	key := goldenKey(f).String()
	return []string{
		"", "# comment", key, "workers=4 " + key, `memory="2GiB",cpu=0.5,queues="a,b" ` + key, "revoked " + key,
		`expires="2026-12-31",from="10.0.0.0/8,!10.1.*,unix" ` + key, `workers="4\"" ` + key, "a=b,c " + key,
		"node:7227 " + key, "[::1]:7227 " + key, "unix:/run/afar " + key, "\x00", key + "\n" + key + "\r\n# x\n",
	}
}

func FuzzParsePublicKey(f *testing.F) {
	for _, line := range seedLines(f) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		key, comment, err := ParsePublicKey(line)
		if err != nil {
			return
		}
		again, same, err := ParsePublicKey(key.String() + " " + comment)
		if err != nil || again != key || same != comment || key.IsZero() {
			t.Errorf("%q: %v %q, then %v %q, %v", line, key, comment, again, same, err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte("-----BEGIN AFAR PRIVATE KEY-----\n"))
	text, err := goldenKey(f).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := parseKey(text)
		if err != nil {
			return
		}
		written, err := key.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseKey(written)
		if err != nil || !again.private.Equal(key.private) || again.comment != key.comment {
			t.Errorf("%q is written as %q: %v", text, written, err)
		}
	})
}

// FuzzNewKeyComment: every comment that is accepted survives all files.
func FuzzNewKeyComment(f *testing.F) {
	f.Add("ada@example", uint8(1))
	f.Add("Comment: -----END", uint8(2))
	f.Fuzz(func(t *testing.T, comment string, seed uint8) {
		key, err := newKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)), comment)
		if err != nil {
			return
		}
		text, err := key.encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseKey(text); err != nil || again.comment != key.comment {
			t.Errorf("%q in %q: %v", key.comment, text, err)
		}
		if _, again, err := ParsePublicKey(key.String()); err != nil || again != key.comment {
			t.Errorf("%q in %q: %q, %v", key.comment, key, again, err)
		}
	})
}

// FuzzAuthorizedKeys: a grant that is read can be written; a change of one key
// leaves all others as they are.
func FuzzAuthorizedKeys(f *testing.F) {
	for _, line := range seedLines(f) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		grants, err := parseGrants(text, "file")
		if err != nil {
			return
		}
		for _, g := range grants {
			line, err := g.line()
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			back, err := parseGrants(appendLine(text, line), "file")
			if err != nil || len(back) != len(grants)+1 || !reflect.DeepEqual(back[:len(grants)], grants) {
				t.Fatalf("%q with %q: %v", text, line, err)
			}
			revoked, err := parseGrants(replaceLines(text, grants, g.Key, revokeLine), "file")
			if err != nil || len(revoked) != len(grants) {
				t.Fatalf("%q without %s: %v", text, g.Key, err)
			}
			for i, want := range grants {
				want.Revoked = want.Revoked || want.Key == g.Key
				if !reflect.DeepEqual(revoked[i], want) {
					t.Fatalf("%q: %+v became %+v", text, grants[i], revoked[i])
				}
			}
		}
	})
}

func FuzzKnownNodes(f *testing.F) {
	for _, line := range seedLines(f) {
		f.Add([]byte(line), "node:7227")
	}
	key := goldenKey(f).Public()
	f.Fuzz(func(t *testing.T, text []byte, address string) {
		nodes, err := parseNodes(text, "file")
		if err != nil {
			return
		}
		if address, err = cleanAddress(address); err != nil {
			return
		}
		if again, err := cleanAddress(address); err != nil || again != address {
			t.Fatalf("%q, then %q: %v", address, again, err)
		}
		back, err := parseNodes(appendLine(text, address+" "+key.String()), "file")
		if err != nil || len(back) != len(nodes)+1 || back[len(nodes)].address != address {
			t.Fatalf("%q with %q: %v", text, address, err)
		}
	})
}

func FuzzFrom(f *testing.F) {
	f.Add("10.0.0.0/8,!10.1.*,unix", "10.2.3.4:5")
	f.Add("2001:db8::/32,*:?", "[2001:db8::1]:5")
	f.Fuzz(func(t *testing.T, from, address string) {
		patterns, err := parseFrom(from)
		if err != nil {
			return
		}
		h := hostOf(textAddr(address))
		if yes := allowed(patterns, h); yes && !h.ip.IsValid() {
			t.Errorf("from=%q lets in %q", from, address)
		}
		if allowed(append(patterns, "!*"), h) {
			t.Errorf("from=%q lets in %q, whom it denies", from, address)
		}
	})
}

func FuzzVerdict(f *testing.F) {
	f.Add("welcome\n")
	f.Add("refused: key\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := strings.NewReader(text)
		if err := readVerdict(r); err == nil && (!strings.HasPrefix(text, "welcome\n") || r.Len() != len(text)-8) {
			t.Errorf("%q is a welcome", text)
		}
	})
}

// FuzzServer: no bytes of a stranger let anyone in, or crash a node.
func FuzzServer(f *testing.F) {
	config := &ServerConfig{Key: goldenKey(f), Authorized: &AuthorizedKeys{Path: "testdata/none"}, Timeout: time.Second}
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0})
	f.Add(record([]byte{1, 0, 255, 255}))
	f.Fuzz(func(t *testing.T, text []byte) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, peer, err := Server(t.Context(), far, config); err == nil {
				t.Errorf("%q let in %v", text, peer.Key)
			}
		}()
		read := make(chan struct{})
		go func() { defer close(read); _, _ = io.Copy(io.Discard, near) }()
		_, _ = near.Write(text)
		near.Close()
		<-done
		<-read
	})
}

// FuzzClient: no bytes of a stranger are taken for the node.
func FuzzClient(f *testing.F) {
	key := goldenKey(f)
	config := &ClientConfig{Key: key, Pinned: key.Public(), Timeout: time.Second}
	f.Add([]byte{22, 3, 3, 0, 4, 2, 0, 0, 0})
	f.Add([]byte{21, 3, 3, 0, 2, 2, 40})
	f.Fuzz(func(t *testing.T, text []byte) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := Client(t.Context(), near, config); err == nil {
				t.Errorf("%q is believed", text)
			}
		}()
		read := make(chan struct{})
		go func() { defer close(read); _, _ = io.Copy(io.Discard, far) }()
		_, _ = far.Write(text)
		far.Close()
		<-done
		<-read
	})
}
