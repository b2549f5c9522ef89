package push

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// attack speaks to Receive as a sender that keeps to nothing; what it says after
// each turn of the far side is a part.
func attack(t *testing.T, to string, o Options, parts ...func(s *stream)) error {
	t.Helper()
	near, done := far(t.Context())
	s := newStream(near)
	s.putUint(pieceSize)
	s.putBool(o.Delete)
	s.putBool(o.Checksum)
	s.putBool(o.DryRun)
	s.putString(to)
	_ = s.flush()
	_, _ = s.string(maxName), s.string(maxPath)
	s.put(make([]byte, len(ID{}))...)
	s.putAttr(attr{perm: 0o755, time: at(1)})
	go func() { // what it answers is of no interest
		_, _ = io.Copy(io.Discard, s.in)
	}()
	for _, part := range parts {
		part(s)
		_ = s.flush()
	}
	near.close(io.EOF)
	return <-done
}

func (s *stream) putNamed(kind byte, name string) {
	s.putEntry(&entry{kind: kind, name: name, link: "target", attr: attr{perm: 0o644, time: time.Unix(0, 0), size: 5}}, false)
}

// TestHostileNames: no name leads anywhere but into the directory.
func TestHostileNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/etc/x", "a/../../x", "nul\x00", ID{2}.tempName(), strings.Repeat("x", maxName+1)} {
		for _, kind := range []byte{entryDir, entryFile, entryLink, entryKeep} {
			base := tempDir(t)
			err := attack(t, filepath.Join(base, "to"), Options{Delete: true}, func(s *stream) {
				s.putNamed(kind, name)
				s.put(finalEnd)
			})
			if !errors.Is(err, errProtocol) {
				t.Errorf("%q as %q: %v", name, kind, err)
			}
			for there := range snapshot(t, base) {
				if there != "to" {
					t.Errorf("%q as %q: %s was made", name, kind, there)
				}
			}
		}
	}
}

// TestHostileEntries: what is out of order, too much or unknown ends the push.
func TestHostileEntries(t *testing.T) {
	cases := map[string]func(s *stream){
		"order":   func(s *stream) { s.putNamed(entryLink, "b"); s.putNamed(entryLink, "a") },
		"twice":   func(s *stream) { s.putNamed(entryDir, "a"); s.put(entryLeave); s.putNamed(entryLink, "a") },
		"leave":   func(s *stream) { s.put(entryLeave) },
		"inside":  func(s *stream) { s.putNamed(entryDir, "a") },
		"unknown": func(s *stream) { s.put('?') },
		"mode":    func(s *stream) { s.put(entryDir); s.putString("a"); s.putUint(0o4755) },
		"link":    func(s *stream) { s.put(entryLink); s.putString("a"); s.putUint(1 << 40) },
		"depth": func(s *stream) {
			for range maxDepth + 1 {
				s.putNamed(entryDir, "d")
			}
		},
		"batch": func(s *stream) {
			for range batchEntries + 1 {
				s.put(entryLeave)
			}
		},
	}
	for name, part := range cases {
		t.Run(name, func(t *testing.T) {
			to := filepath.Join(tempDir(t), "to")
			if err := attack(t, to, Options{}, func(s *stream) { part(s); s.put(finalEnd) }); !errors.Is(err, errProtocol) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestHostileContent: a file that is not what it was said to be does not get its
// name.
func TestHostileContent(t *testing.T) {
	begin := func(s *stream) { s.put(answerBegin); s.putAttr(attr{perm: 0o644, size: 5}) }
	data := func(s *stream, text string) { s.put(opBytes); s.putString(text) }
	end := func(s *stream, text string) {
		sum := sha256.Sum256([]byte(text))
		s.put(answerEnd)
		s.put(sum[:]...)
	}
	copied := func(s *stream, path string) { s.put(opCopy); s.putString(path); s.putUint(0); s.putUint(5) }
	cases := map[string]struct {
		answer  func(s *stream)
		refused bool // at once; else it is asked for again
	}{
		"longer":       {func(s *stream) { begin(s); data(s, "longer"); end(s, "longer") }, true},
		"huge":         {func(s *stream) { begin(s); s.put(opBytes); s.putUint(1 << 60) }, true},
		"zeros":        {func(s *stream) { begin(s); s.put(opZeros); s.putUint(6) }, true},
		"blocks":       {func(s *stream) { begin(s); s.put(opBlocks); s.putUint(0); s.putUint(1) }, true},
		"unknown":      {func(s *stream) { begin(s); s.put('?') }, true},
		"no answer":    {func(s *stream) { s.put('?') }, true},
		"copy out":     {func(s *stream) { begin(s); copied(s, "../secret") }, true},
		"copy root":    {func(s *stream) { begin(s); copied(s, "/etc/passwd") }, true},
		"copy by link": {func(s *stream) { begin(s); copied(s, "way/secret"); end(s, "stolen") }, false},
		"copy link":    {func(s *stream) { begin(s); copied(s, "way2"); end(s, "stolen") }, false},
		"shorter":      {func(s *stream) { begin(s); data(s, "four"); end(s, "four") }, false},
		"wrong hash":   {func(s *stream) { begin(s); data(s, "right"); end(s, "wrong") }, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			base := tempDir(t)
			to := filepath.Join(base, "to")
			write(t, "stolen", base, "secret")
			write(t, "old", to, "file")
			ok(t, os.Symlink("..", filepath.Join(to, "way")))
			ok(t, os.Symlink("../secret", filepath.Join(to, "way2")))
			ask := func(s *stream) { s.putNamed(entryFile, "file"); s.put(finalEnd) }
			err := attack(t, to, Options{}, ask, c.answer, c.answer)
			if c.refused != errors.Is(err, errProtocol) || err == nil {
				t.Errorf("%v", err)
			}
			if !c.refused && !strings.Contains(err.Error(), "twice") {
				t.Errorf("%v", err)
			}
			if got := read(t, to, "file"); got != "old" {
				t.Errorf("the file is %q", got)
			}
			noTemps(t, to)
		})
	}
}

// TestHostileLinks: a link that the same push makes leads nowhere either.
func TestHostileLinks(t *testing.T) {
	base := tempDir(t)
	to := filepath.Join(base, "to")
	write(t, "outside", base, "outside", "file")
	link := func(s *stream) {
		s.putEntry(&entry{kind: entryLink, name: "a", link: "../outside"}, false)
		s.put(batchEnd)
	}
	enter := func(s *stream) { s.putNamed(entryDir, "a"); s.putNamed(entryFile, "file"); s.put(finalEnd) }
	if err := attack(t, to, Options{Delete: true}, link, enter); !errors.Is(err, errProtocol) {
		t.Errorf("%v", err)
	}
	if read(t, base, "outside", "file") != "outside" {
		t.Error("a file outside has changed")
	}
}

// TestHostileReceiver: the near side gives nothing but what is in its batch, and
// each no more than twice.
func TestHostileReceiver(t *testing.T) {
	from := tempDir(t)
	for _, name := range []string{"dir/file", "hidden", "public"} {
		write(t, name, from, name)
	}
	ask := func(s *stream, kind byte, index int) { s.put(kind); s.putUint(uint64(index)) }
	// The batch: dir, dir/file, leave, public.
	cases := map[string]func(s *stream){
		"beyond":         func(s *stream) { ask(s, replyWhole, 4) },
		"far beyond":     func(s *stream) { ask(s, replyWhole, 1<<30) },
		"a directory":    func(s *stream) { ask(s, replyWhole, 0) },
		"twice":          func(s *stream) { ask(s, replyWhole, 3); ask(s, replyWhole, 3) },
		"again first":    func(s *stream) { ask(s, replyPlain, 3) },
		"three times":    func(s *stream) { ask(s, replyWhole, 3); ask(s, replyPlain, 3); ask(s, replyPlain, 3) },
		"many blocks":    func(s *stream) { ask(s, replyDelta, 3); s.putUint(1 << 62) },
		"no turn":        func(s *stream) { ask(s, replyWhole, 3); s.put(replyDone) },
		"unknown":        func(s *stream) { s.put('?') },
		"endless delete": func(s *stream) { s.put(replyDeleted); s.putUint(1 << 60) },
	}
	for name, reply := range cases {
		t.Run(name, func(t *testing.T) {
			src, err := OpenSource(from, Options{Filter: func(path string, _ os.DirEntry) bool { return path != "hidden" }})
			ok(t, err)
			defer func() { _ = src.Close() }()
			near, link := pair()
			go func() {
				s := newStream(link)
				begin(s)
				for s.entry(false).kind != finalEnd {
				}
				reply(s)
				_ = s.flush()
				_, _ = io.Copy(io.Discard, s.in)
			}()
			s, err := Begin(near, "there", Options{}, 0)
			ok(t, err)
			err = s.Send(t.Context(), src)
			near.close(io.EOF)
			if !errors.Is(err, errProtocol) {
				t.Errorf("%v", err)
			}
		})
	}
}

// begin is what a far side does first.
func begin(s *stream) {
	s.uint(pieceSize)
	for range 3 {
		s.bool()
	}
	s.string(maxPath)
	s.putString("host")
	s.putString("key")
	_ = s.flush()
	s.full(make([]byte, len(ID{})))
	s.attr()
}

// script is a link on which everything that comes is known before.
type script struct{ io.Reader }

func (script) Write(p []byte) (int, error) { return len(p), nil }

func FuzzReceive(f *testing.F) {
	record := func(build func(s *stream)) {
		var b bytes.Buffer
		s := newStream(struct {
			io.Reader
			io.Writer
		}{nil, &b})
		build(s)
		_ = s.flush()
		f.Add(b.Bytes())
	}
	record(func(s *stream) {
		s.put(make([]byte, len(ID{}))...)
		s.putAttr(attr{perm: 0o755})
		s.putNamed(entryDir, "dir")
		s.putNamed(entryFile, "file")
		s.put(entryLeave)
		s.putNamed(entryFile, "old")
		s.putNamed(entryLink, "out")
		s.put(finalEnd, answerBegin)
		s.putAttr(attr{perm: 0o600, size: 5})
		s.put(opBytes)
		s.putString("12345")
		sum := sha256.Sum256([]byte("12345"))
		s.put(answerEnd)
		s.put(sum[:]...)
		s.put(answerGone)
	})
	record(func(s *stream) {
		s.put(make([]byte, len(ID{}))...)
		s.putAttr(attr{perm: 0o755})
		s.putNamed(entryDir, "way")
		s.putNamed(entryFile, "file")
		s.put(batchEnd, answerBegin)
		s.putAttr(attr{perm: 0o600, size: 1 << 50})
		s.put(opBlocks, 0, 1, opCopy)
		s.putString("way/file")
		s.put(0, 5, opZeros, 5, answerAbandon)
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		base := tempDir(t)
		to := filepath.Join(base, "to")
		write(t, "outside", base, "outside", "file")
		write(t, noise(1, 20_000), to, "old")
		ok(t, os.Symlink("../outside", filepath.Join(to, "way")))
		before := snapshot(t, filepath.Join(base, "outside"))
		var head bytes.Buffer
		s := newStream(struct {
			io.Reader
			io.Writer
		}{nil, &head})
		s.put(1, 1, 0, 0)
		s.putString(to)
		_ = s.flush()
		_ = Receive(context.Background(), script{io.MultiReader(&head, bytes.NewReader(data))})
		names, err := os.ReadDir(base)
		ok(t, err)
		if after := snapshot(t, filepath.Join(base, "outside")); len(names) != 2 || len(after) != 1 || after["file"] != before["file"] {
			t.Errorf("outside there is %v, and %v", names, after)
		}
	})
}

func FuzzSession(f *testing.F) {
	f.Add([]byte{1, 'h', 1, 'k', replyWhole, 0, replyTurn, replyPlain, 0, replyTurn, replyDone})
	f.Add([]byte{1, 'h', 1, 'k', replyDelta, 0, 5, 0, 0, 0, replyTurn, replyDeleted, 1, 'x', replyChanged, 0, replyDone})
	from := f.TempDir()
	if err := os.WriteFile(filepath.Join(from, "file"), []byte(noise(1, 40_000)), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		src, err := OpenSource(from, Options{})
		ok(t, err)
		defer func() { _ = src.Close() }()
		s, err := Begin(script{bytes.NewReader(data)}, "there", Options{}, 0)
		if err != nil {
			return
		}
		_ = s.Send(t.Context(), src)
		if s.s.sent > 200_000 {
			t.Errorf("%d bytes were sent", s.s.sent)
		}
	})
}
