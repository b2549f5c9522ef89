//go:build unix

package ship

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slow plays a far side as fake does, whose steps take their time: "wait 10s" waits, "chat 10s" prints a line each second
// meanwhile, and "blob" takes so many bytes of the image in a second, 0: all at once. It ends with the link.
func slow(t *testing.T, s *session, link net.Conn, packed, rate int64, steps []string, sleep func(time.Duration)) {
	in := bufio.NewReader(link)
	_, err := in.Discard(len(script(s.nonce)))
	for _, step := range steps {
		if err != nil {
			return
		}
		switch what, text, _ := strings.Cut(step, " "); what {
		case ">":
			_, err = io.WriteString(link, strings.ReplaceAll(text, "N ", answerPrefix(s.nonce))+"\n")
		case "<":
			var line string
			if line, err = in.ReadString('\n'); err != nil || !strings.Contains(line, text) {
				t.Errorf("%q %v, want %q", line, err, text)
			}
		case "blob":
			for left := packed; left > 0 && err == nil && rate > 0; left -= rate {
				sleep(time.Second)
				_, err = io.CopyN(io.Discard, in, min(left, rate))
			}
			if rate == 0 {
				_, err = io.CopyN(io.Discard, in, packed)
			}
		default:
			d, _ := time.ParseDuration(text)
			for ; d > 0 && err == nil; d -= time.Second {
				sleep(time.Second)
				if what == "chat" {
					_, err = io.WriteString(link, "it is a nice day\n")
				}
			}
		}
	}
}

// Only answers, and bytes that are taken, keep a far side from being given up, and only its own line a program.
func TestPatience(t *testing.T) {
	image := program(t, 0)
	packed, err := image.CompressedSize()
	if err != nil {
		t.Fatal(err)
	}
	const patience = 10 * time.Second
	const hello, ask, agent = "> N hello Linux x86_64", "< image", "> N agent"
	type far struct {
		steps []string
		build time.Duration // of the image
		rate  int64         // of the link
	}
	steps := func(steps ...string) far { return far{steps: steps} }
	upload := func(rate int64, more ...string) far {
		return far{steps: append([]string{hello, ask, "> N need gzip", "blob"}, more...), rate: rate}
	}
	for name, test := range map[string]struct {
		far
		stage Stage         // "" is success
		after time.Duration // of the beginning that is known; 0: some time
		text  string
	}{
		"silent":         {steps("wait 1m"), StageNoShell, patience, "no answer for 10s"},
		"chatty":         {steps("chat 1m"), StageNoShell, patience, "nice day"},
		"late":           {steps("chat 9s", hello, ask, "chat 9s", "> N start new", "chat 9s", agent), "", 0, ""},
		"busy":           {steps(hello, ask, "wait 9s", "> N busy x 1", ask, "wait 9s", "> N busy x 1", ask, "wait 9s", "> N start new", agent), "", 0, ""},
		"building":       {far{steps: []string{hello, ask, "wait 9s", "> N start new", agent}, build: time.Hour}, "", 0, ""},
		"after building": {far{steps: []string{hello, ask, "chat 1m"}, build: time.Hour}, StageUpload, time.Hour + patience, ""},
		"slow upload":    {upload(8<<10, "> N start new", agent), "", 0, ""},
		// The system here has taken all of it, and has not passed it on.
		"slow link":       {upload(0, "wait 18s", "> N start new", agent), "", 0, ""},
		"stuck link":      {upload(0, "chat 1m"), StageUpload, 0, "no answer for"},
		"no Main":         {steps(hello, ask, "> N start new", "chat 1m"), StageStart, patience, "not the first line of main: no answer for 10s; the last output was:\n\tit is a nice day"},
		"no Main, cached": {steps(hello, ask, "> N start have", "chat 1m"), StageStart, patience / 2, "not the first line of main: no answer for 5s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, link := net.Pipe()
				s := newSession(near, patience, func(context.Context, string) (*Image, error) {
					time.Sleep(test.build)
					return image, nil
				})
				done := make(chan struct{})
				go func() {
					defer close(done)
					defer link.Close()
					slow(t, s, link, packed, test.rate, test.steps, func(d time.Duration) { time.Sleep(d) })
				}()
				begin := time.Now()
				_, err := s.bootstrap(t.Context())
				took := time.Since(begin)
				if test.stage == "" && err != nil {
					t.Error(err)
				}
				if test.stage != "" {
					e := wantError(t, err, test.stage, test.text)
					if !errors.Is(err, ErrSilent) || e.Cached != (test.after == patience/2) || test.after != 0 && took != test.after {
						t.Errorf("after %v, cached %v: %v", took, e.Cached, err)
					}
				}
				_ = near.Close()
				<-done
			})
		})
	}
}
