package mux

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/wire"
)

// shown returns an example of wire/SPEC.md.
func shown(t *testing.T, name string) []byte {
	t.Helper()
	spec, err := os.ReadFile("../wire/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(spec), "\n```hex frame-"+name+"\n")
	if !found {
		t.Fatalf("SPEC.md has no example frame-%s", name)
	}
	body, _, _ := strings.Cut(rest, "```")
	var all []byte
	for line := range strings.Lines(body) {
		digits, _, _ := strings.Cut(line, ";")
		b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatalf("example %s: %v", name, err)
		}
		all = append(all, b...)
	}
	return all
}

// What SPEC.md shows is what a session writes.
func TestSpec(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, a *end){
		"message": func(_ *testing.T, a *end) { a.Post([]byte("he"), []byte("llo")) },
		"bulk":    func(_ *testing.T, a *end) { a.PostBulk([]byte("abc"), []byte("de")) },
		"ping":    func(_ *testing.T, a *end) { a.postFrame(wire.Header{Kind: wire.Ping}, nil) },
		"pong":    func(_ *testing.T, a *end) { a.pong() },
		"go-away": func(_ *testing.T, a *end) { a.Session.GoAway("maintenance") },
		"stream":  specStream,
		"reset": func(t *testing.T, a *end) {
			st, err := a.Open(nil, StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			a.writer.out = nil // of Open
			st.Reset("enough")
		},
		"finish": func(t *testing.T, a *end) {
			st, err := a.Open(nil, StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			a.writer.out = nil // of Open
			st.Finish([]byte("done"))
		},
		"open-with-little-credit": func(t *testing.T, a *end) {
			if _, err := a.Open([]byte("x"), StreamOptions{Credit: 16}); err != nil {
				t.Fatal(err)
			}
		},
		"credit": func(t *testing.T, a *end) {
			st, err := a.Open(nil, StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			a.writer.out = nil // of Open
			st.in.mu.Lock()
			defer st.in.mu.Unlock()
			st.in.held = DefaultWindow / 2
			st.in.owed.Store(DefaultWindow / 2)
			st.giveBack()
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder()
			a := (&end{}).on(r, Config{Initiator: true, Keepalive: -1})
			do(t, a)
			a.Flush()
			if want := shown(t, name); !bytes.Equal(r.written, want) {
				t.Errorf("frame-%s: SPEC.md shows\n% x, the session writes\n% x", name, want, r.written)
			}
			_ = a.Close()
		})
	}
}

func specStream(t *testing.T, a *end) {
	st, err := a.Open([]byte("test"), StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a.config.Window = 100 // so that small parts are sent
	st.out.credit = 18
	sent := make(chan error)
	go func() { sent <- st.Send(t.Context(), nil, []byte("abc")) }()
	synctest.Wait()
	if err := st.credited(binary.AppendUvarint(nil, 18+18+16)); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if err := st.Send(t.Context(), []byte("d"), []byte("e")); err != nil {
		t.Fatal(err)
	}
	if err := st.Send(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	st.End()
	if st.out.credit != 0 {
		t.Errorf("%d bytes of credit are left", st.out.credit)
	}
}

// And a session reads it as SPEC.md says.
func TestSpecIsUnderstood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := launch.Pipe()
		b := (&end{}).on(far, quiet())
		start(t, b)
		for _, name := range []string{"message", "ping", "pong", "go-away", "bulk", "stream"} {
			if _, err := near.Write(shown(t, name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []string{"hello", "abcde"} {
			if got := b.messages.take(); string(got) != want {
				t.Errorf("message %q, want %q", got, want)
			}
		}
		if got := b.goAways.take(); got != "maintenance" {
			t.Errorf("go-away %q", got)
		}
		st := b.streams.take()
		for _, want := range []string{"abc", "de", ""} {
			if got, err := st.Recv(t.Context()); err != nil || string(got) != want {
				t.Errorf("item %q, %v, want %q", got, err, want)
			}
		}
		if _, err := st.Recv(t.Context()); err == nil || err.Error() != "EOF" {
			t.Errorf("at the end: %v", err)
		}
	})
}
