//go:build unix

package ship

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// fake plays the far side: it reads the script, and then follows its own: "< text" waits for a line with the text,
// "> text" prints a line, in which N stands for the nonce, "blob" takes the compressed image, "end" closes the link.
func fake(t *testing.T, s *session, link net.Conn, packed int64, steps []string) {
	in := bufio.NewReader(link)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if line == "}\n" && in.Buffered() == 0 {
			break
		}
	}
	for _, step := range steps {
		switch what, text, _ := strings.Cut(step, " "); what {
		case ">":
			_, _ = io.WriteString(link, strings.ReplaceAll(text, "N ", answerPrefix(s.nonce))+"\n")
		case "<":
			if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, text) {
				t.Errorf("%q %v, want %q", line, err, text)
			}
		case "blob":
			if n, err := io.CopyN(io.Discard, in, packed); err != nil {
				t.Error(n, err)
			}
		}
	}
}

// The far side may end, or say what it likes, at every stage.
func TestDialogue(t *testing.T) {
	image := program(t, 0)
	packed, err := image.CompressedSize()
	if err != nil {
		t.Fatal(err)
	}
	hello, ask := "> N hello Linux x86_64", "< image "+image.Hash()
	blob := []string{hello, ask, "> N need gzip", "blob"}
	with := func(before []string, more ...string) []string {
		return append(before[:len(before):len(before)], more...)
	}
	for name, test := range map[string]struct {
		steps []string
		stage Stage // "" is success
		text  string
	}{
		"ends at once":    {nil, StageNoShell, "ended without answering"},
		"another dialect": {[]string{"> N welcome"}, StageNoShell, "welcome"},
		"no uname":        {[]string{"> N hello"}, StageUnknownSystem, `""`},
		"after hello":     {[]string{hello, ask, "> bye"}, StageUpload, "bye"},
		"after need":      {[]string{hello, ask, "> N need gzip"}, StageUpload, ""},
		"after the blob":  {blob, StageUpload, "far side ended"},
		"greedy": {with([]string{hello, ask}, "> N need gzip", "blob", "> N need gzip", "blob", "> N need gzip", "blob", "> N need gzip", "blob",
			"> N need gzip", "blob", "> N need gzip", "blob", "> N need gzip", "blob", "> N need gzip", "blob", "> N need gzip"), StageUpload, "again and again"},
		"sent":           {with(blob, "> N sent", "< go", "> N start new", "> N agent"), "", ""},
		"after sent":     {with(blob, "> N sent", "< go"), StageUpload, ""},
		"after busy":     {[]string{hello, ask, "> N busy x 1", ask}, StageUpload, ""},
		"odd busy":       {[]string{hello, ask, "> N busy"}, StageUpload, "busy"},
		"nonsense":       {[]string{hello, ask, "> N need wool"}, StageUpload, "wool"},
		"space":          {with(blob, "> df: full", "> N error space"), StageNoSpace, "df: full"},
		"directory":      {[]string{hello, ask, "> N error directory"}, StageNoDirectory, ""},
		"no inodes":      {[]string{hello, ask, "> mkdir: No space left on device", "> N error directory"}, StageNoSpace, "mkdir"},
		"hash":           {with(blob, "> N error hash"), StageHash, image.Hash()},
		"broken":         {with(blob, "> N error upload"), StageUpload, ""},
		"after start":    {with(blob, "> N start new", "> segmentation fault"), StageStart, "segmentation fault"},
		"not executable": {with(blob, "> N start new", "> N error start"), StageStart, "executed"},
		"odd program":    {with(blob, "> N start new", "> N hello"), StageStart, "hello"},
		"another nonce":  {with(blob, "> N start new", "> AFAR1 00112233445566778899aabbccddeeff agent"), StageStart, "afar.Main()"},
		"terminal":       {[]string{hello + "\r"}, StageTerminal, "-t"},
		"late terminal":  {[]string{hello, ask, "> N start have", "> N agent\r"}, StageTerminal, "-t"},
		"glued":          {[]string{"> Welcome$ N hello Linux x86_64", ask, "> x N start have", "> progress: N agent"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			s := newSession(near, 0, give(image))
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer far.Close()
				fake(t, s, far, packed, test.steps)
			}()
			arrival, err := s.bootstrap(within(t))
			if test.stage != "" {
				wantError(t, err, test.stage, test.text)
			} else if err != nil || arrival.Link == nil {
				t.Error(arrival, err)
			}
			_ = near.Close()
			<-done
		})
	}
}

// A far side that takes nothing and says nothing is given up.
func TestLimits(t *testing.T) {
	image := program(t, 0)
	t.Run("write", func(t *testing.T) {
		silent, end := io.Pipe()
		s := newSession(struct {
			io.Reader
			io.Writer
		}{silent, brokenWriter{}}, 0, give(image))
		s.limits.words = time.Millisecond
		_, err := s.bootstrap(within(t))
		if wantError(t, err, StageNoShell); !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
		_ = end.Close()
	})
	t.Run("documented", func(t *testing.T) {
		if s := newSession(nil, 0, nil); s.limits != usualLimits {
			t.Error(s.limits)
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// The script is short, because bash reads it byte by byte, and does not contain what answers begin with.
func TestScript(t *testing.T) {
	text := script("0123")
	if strings.Contains(text, answerPrefix("0123")) || strings.Contains(text, "@NONCE@") || strings.Contains(text, "#") {
		t.Error("it has what it must not have")
	}
	if !strings.HasPrefix(text, "{\n") || !strings.HasSuffix(text, "\n}\n") {
		t.Error("it is not one compound command")
	}
	if len(text) > 6000 {
		t.Errorf("it has %d bytes", len(text))
	}
}

// FuzzDialogue gives a caller whatever a far side could say.
func FuzzDialogue(f *testing.F) {
	image := program(f, 0)
	for _, seed := range []string{
		"", "\n\n", "N hello Linux x86_64\nN start have\nN agent\nrest",
		"motd N hello Linux x86_64\nN busy me 0\nN busy none 1\nN need gzip\nN need raw\nN sent\nN error hash\n",
		"N \nN hello Linux x86_64 N start new\n", "N hello Linux x86_64\nN error space\n", "N hello a b c\n",
		strings.Repeat("x", 2<<20),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		link := &sink{}
		s := newSession(link, 0, give(image))
		s.limits.busy = time.Nanosecond
		s.in = bufio.NewReaderSize(bytes.NewReader(bytes.ReplaceAll(said, []byte("N "), []byte(answerPrefix(s.nonce)))), lineLimit)
		arrival, err := s.bootstrap(context.Background())
		if (arrival == nil) == (err == nil) {
			t.Fatal(arrival, err)
		}
		if e, ok := errors.AsType[*Error](err); err != nil && (!ok || len(e.Output) > 4*tailLimit) {
			t.Fatal(err)
		}
	})
}

// sink is a link that takes everything and says nothing.
type sink struct{}

func (*sink) Read([]byte) (int, error)    { return 0, io.EOF }
func (*sink) Write(p []byte) (int, error) { return len(p), nil }
