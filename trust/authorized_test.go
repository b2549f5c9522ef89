package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	anywhere = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1234}
	someday  = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
)

func TestLookup(t *testing.T) {
	good, expired, elsewhere, revoked, twice, unknown := newTestKey(t, "good"), newTestKey(t, "expired"),
		newTestKey(t, "elsewhere"), newTestKey(t, "revoked"), newTestKey(t, "twice"), newTestKey(t, "unknown")
	keys := AuthorizedKeys{Path: writeFile(t, "authorized_keys", strings.Join([]string{
		"# who may use this node",
		"",
		"workers=4 " + good.String(),
		`expires="2026-05-31" ` + expired.String(),
		`from="10.0.0.0/8" ` + elsewhere.String(),
		"workers=1 " + revoked.String(),
		"\trevoked " + revoked.String() + "\r",
		`from="10.0.0.0/8",workers=8 ` + twice.String(),
		"workers=2 " + twice.String(),
		"workers=3 " + twice.String(), // without a newline
	}, "\n"))}
	lookup := func(key *Key, want error, texts ...string) Grant {
		t.Helper()
		grant, err := keys.Lookup(key.Public(), anywhere, someday)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", key.Comment(), err, want)
		}
		for _, text := range append(texts, key.Public().Fingerprint(), "trust: ") {
			if err != nil && !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v does not say %s", key.Comment(), err, text)
			}
		}
		return grant
	}
	if g := lookup(good, nil); g.Workers != 4 || g.Line != 3 || g.Comment != "good" {
		t.Errorf("good: %+v", g)
	}
	lookup(expired, ErrExpired, keys.Path+":4", "2026-06-01T00:00:00Z")
	lookup(elsewhere, ErrWrongAddress, keys.Path+":5", "192.0.2.1", "10.0.0.0/8")
	lookup(revoked, ErrRevoked, keys.Path+":7")
	lookup(unknown, ErrUnknownKey, keys.Path)
	if g := lookup(twice, nil); g.Workers != 2 || g.Line != 9 {
		t.Errorf("twice: %+v", g)
	}
	from10 := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}
	if g, err := keys.Lookup(twice.Public(), from10, someday); err != nil || g.Workers != 8 {
		t.Errorf("twice, from the first line's place: %+v, %v", g, err)
	}
	for _, text := range []string{"revoked %[1]s\n%[1]s\n", "%[1]s\nrevoked %[1]s\n", "%[1]s\nrevoked %[1]s\n%[1]s\n"} {
		marked := AuthorizedKeys{Path: writeFile(t, "authorized_keys", fmt.Sprintf(text, good))}
		if _, err := marked.Lookup(good.Public(), anywhere, someday); !errors.Is(err, ErrRevoked) {
			t.Errorf("%q: %v", text, err)
		}
	}
	before := time.Date(2026, 5, 31, 23, 59, 59, 0, time.UTC)
	if _, err := keys.Lookup(expired.Public(), anywhere, before); err != nil {
		t.Errorf("before the end of the last day: %v", err)
	}
	if _, err := keys.Lookup(PublicKey{}, anywhere, someday); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("no key: %v", err)
	}
}

// What the file says is true at once, however it was changed.
func TestLookupSeesEveryChange(t *testing.T) {
	key, other := newTestKey(t, "same"), newTestKey(t, "same")
	keys := AuthorizedKeys{Path: writeFile(t, "authorized_keys", key.String()+"\n")}
	info, err := os.Stat(keys.Path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(want error) {
		t.Helper()
		if _, err := keys.Lookup(key.Public(), anywhere, someday); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	check(nil)
	// In place, with the size and the time that it had.
	overwrite(t, keys.Path, other.String()+"\n")
	if err := os.Chtimes(keys.Path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	check(ErrUnknownKey)
	overwrite(t, keys.Path, key.String()+"\n")
	check(nil)
	if err := os.Remove(keys.Path); err != nil {
		t.Fatal(err)
	}
	check(ErrUnknownKey)
	overwrite(t, keys.Path, key.String()+"\n")
	check(nil)
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// One bad line, and nobody is let in: it might have been a limit.
func TestBadFileLetsNobodyIn(t *testing.T) {
	key := newTestKey(t, "")
	for name, c := range map[string]struct {
		text string
		want string
	}{
		"option": {key.String() + "\n\nworkrs=1 " + newTestKey(t, "").String() + "\n", `:3: unknown option "workrs"`},
		"torn":   {key.String() + "\n" + key.String()[:30] + "\n", ":2: the key"},
		"binary": {key.String() + "\n\x00\x01\n", ":2: the character U+0000"},
		"large":  {key.String() + "\n" + strings.Repeat("#\n", maxFile/2), "larger than"},
	} {
		keys := AuthorizedKeys{Path: writeFile(t, "authorized_keys", c.text)}
		_, err := keys.Lookup(key.Public(), anywhere, someday)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), keys.Path) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if _, err := keys.List(); err == nil {
			t.Errorf("%s: List", name)
		}
		for change, err := range map[string]error{"Append": keys.Append(Grant{Key: newTestKey(t, "").Public()}),
			"Revoke": keys.Revoke(key.Public()), "Remove": keys.Remove(key.Public())} {
			if err == nil || readFile(t, keys.Path) != c.text {
				t.Errorf("%s: %s changed a file that it does not understand: %v", name, change, err)
			}
		}
		if _, err := os.Stat(keys.Path + ".lock"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a lock is left: %v", name, err)
		}
	}
	empty := AuthorizedKeys{}
	if _, err := empty.Lookup(key.Public(), anywhere, someday); err == nil || errors.Is(err, ErrUnknownKey) {
		t.Errorf("no path: %v", err)
	}
	if err := empty.Append(Grant{Key: key.Public()}); err == nil {
		t.Error("appended without a path")
	}
}

func TestFileThatOthersCanWriteLetsNobodyIn(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes of files here")
	}
	key := newTestKey(t, "")
	keys := AuthorizedKeys{Path: writeFile(t, "authorized_keys", key.String()+"\n")}
	for _, mode := range []fs.FileMode{0o666, 0o620, 0o602} {
		if err := os.Chmod(keys.Path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := keys.Lookup(key.Public(), anywhere, someday)
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "chmod go-w "+shellWord(keys.Path)) {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
	if err := os.Chmod(keys.Path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Lookup(key.Public(), anywhere, someday); err != nil {
		t.Error(err)
	}
}

// What people wrote into the file stays as they wrote it.
func TestChangesKeepTheRest(t *testing.T) {
	a, b, c := newTestKey(t, "a"), newTestKey(t, "b"), newTestKey(t, "c")
	start := "# first\n\n  " + a.String() + "\n# about b\nworkers=2  " + b.String() + "\n# last, no newline"
	path := writeFile(t, "authorized_keys", start)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	keys := AuthorizedKeys{Path: path}
	step := func(err error, want string) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		if got := readFile(t, path); got != want {
			t.Errorf("the file is\n%s\nwant\n%s", got, want)
		}
	}
	lineC := `workers=4,memory="2GiB" ` + c.String() + "\n"
	step(keys.Append(Grant{Key: c.Public(), Comment: "c", Workers: 4, Memory: 2 << 30}), start+"\n"+lineC)
	if err := keys.Append(Grant{Key: c.Public()}); !errors.Is(err, ErrAuthorized) || !strings.Contains(err.Error(), path+":7") {
		t.Errorf("the same key again: %v", err)
	}
	step(keys.Revoke(b.Public()), strings.Replace(start, "workers", "revoked,workers", 1)+"\n"+lineC)
	step(keys.Revoke(a.Public()), strings.NewReplacer("workers", "revoked,workers", "  afar-ed25519 "+a.String()[13:],
		"  revoked "+a.String()).Replace(start)+"\n"+lineC)
	if err := keys.Append(Grant{Key: a.Public()}); !errors.Is(err, ErrRevoked) {
		t.Errorf("a revoked key is authorised again: %v", err)
	}
	step(keys.Revoke(a.Public()), readFile(t, path))
	step(keys.Remove(a.Public()), "# first\n\n# about b\nrevoked,workers=2  "+b.String()+"\n# last, no newline\n"+lineC)
	step(keys.Remove(b.Public()), "# first\n\n# about b\n# last, no newline\n"+lineC)
	for name, err := range map[string]error{"Remove": keys.Remove(b.Public()), "Revoke": keys.Revoke(b.Public())} {
		if !errors.Is(err, ErrUnknownKey) {
			t.Errorf("%s of a key that is not there: %v", name, err)
		}
	}
	if runtime.GOOS != "windows" {
		checkMode(t, path, 0o640)
	}
	list, err := keys.List()
	if err != nil || len(list) != 1 || list[0].Key != c.Public() || list[0].Line != 5 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestAppendMakesTheFile(t *testing.T) {
	keys := AuthorizedKeys{Path: filepath.Join(t.TempDir(), "a", "b", "authorized_keys")}
	if list, err := keys.List(); err != nil || len(list) != 0 {
		t.Errorf("no file: %v, %v", list, err)
	}
	if err := keys.Append(Grant{Key: newTestKey(t, "").Public()}); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		checkMode(t, keys.Path, 0o600)
	}
}

// Many keep their files in a repository, and a link where they belong.
func TestChangesFollowLinks(t *testing.T) {
	real := writeFile(t, "real", "")
	link := filepath.Join(t.TempDir(), "authorized_keys")
	if err := os.Symlink(real, link); err != nil {
		t.Skip(err)
	}
	keys := AuthorizedKeys{Path: link}
	if err := keys.Append(Grant{Key: newTestKey(t, "").Public()}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info.Mode(), err)
	}
	if !strings.HasPrefix(readFile(t, real), keyType) {
		t.Error("the real file is not changed")
	}
}

// appendsEach is what each of several goroutines or processes appends.
const appendsEach = 10

func TestNoChangeIsLostBetweenGoroutines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if code := appendMany(path); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
	all.Wait()
	checkCount(t, path, 4*appendsEach)
}

func TestNoChangeIsLostBetweenProcesses(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "authorized_keys")
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			command := exec.CommandContext(t.Context(), program)
			command.Env = append(os.Environ(), "TRUST_TEST_APPEND="+path)
			if text, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, text)
			}
		})
	}
	all.Wait()
	checkCount(t, path, 3*appendsEach)
}

func checkCount(t *testing.T, path string, want int) {
	t.Helper()
	keys := AuthorizedKeys{Path: path}
	list, err := keys.List()
	if err != nil || len(list) != want {
		t.Errorf("%d lines, want %d: %v", len(list), want, err)
	}
}

// A lock that a crash left behind is named, so that it can be removed.
func TestLockLeftBehind(t *testing.T) {
	path := writeFile(t, "authorized_keys", "")
	overwrite(t, path+".lock", "")
	_, err := lockWithin(path, 20*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "remove "+path+".lock") {
		t.Errorf("%v", err)
	}
}

// Grants that are given out are the caller's own.
func TestGrantsAreNotShared(t *testing.T) {
	key := newTestKey(t, "")
	keys := AuthorizedKeys{Path: writeFile(t, "authorized_keys", `queues="a,b" `+key.String())}
	for range 2 {
		grant, err := keys.Lookup(key.Public(), anywhere, someday)
		if err != nil || fmt.Sprint(grant.Queues) != "[a b]" {
			t.Errorf("%v, %v", grant.Queues, err)
		}
		grant.Queues[0] = "other"
		list, _ := keys.List()
		list[0].Queues[0] = "other"
	}
}

// Replace puts one line in the place of all that a key has, or appends it.
func TestReplace(t *testing.T) {
	a, b := newTestKey(t, ""), newTestKey(t, "")
	path := filepath.Join(t.TempDir(), "authorized_keys")
	keys := AuthorizedKeys{Path: path}
	line := func(options string, k *Key) string { return strings.TrimSpace(options+" "+k.Public().String()) + "\n" }
	start := "# a, and again\n" + line("revoked", a) + line("workers=2", b) + line("", a) + "# last"
	if err := os.WriteFile(path, []byte(start), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		grant Grant
		want  string
	}{
		{Grant{Key: a.Public(), Workers: 3}, "# a, and again\n" + line("workers=3", a) + line("workers=2", b) + "# last"},
		{Grant{Key: b.Public()}, "# a, and again\n" + line("workers=3", a) + line("", b) + "# last"},
	} {
		if err := keys.Replace(step.grant); err != nil {
			t.Fatal(err)
		}
		if got := readFile(t, path); got != step.want {
			t.Errorf("the file is\n%s\nwant\n%s", got, step.want)
		}
	}
	c := newTestKey(t, "")
	if err := keys.Replace(Grant{Key: c.Public()}); err != nil || !strings.HasSuffix(readFile(t, path), "# last\n"+line("", c)) {
		t.Errorf("a key that was not there: %v\n%s", err, readFile(t, path))
	}
	if err := keys.Replace(Grant{Key: c.Public(), Comment: "a\nb"}); err == nil {
		t.Error("a grant that is two lines was written")
	}
}
