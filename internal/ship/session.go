package ship

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	_ "embed" // for the script
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	// lineLimit is the length of the longest line that is taken as one. Answers are much shorter.
	lineLimit = 64 << 10

	// uploadLimit is how often one bootstrap uploads. The far side asks for it once per directory, and once more for
	// each time that the lock is taken from it.
	uploadLimit = 8
)

// limits are the times of a session, besides the caller's patience.
type limits struct {
	busy  time.Duration // how long to wait before asking again whether another caller's upload has ended
	stall time.Duration // how long another caller's upload may make no progress before it is taken over
	words time.Duration // how long to wait for the far side to explain why nothing more can be written to it
}

var usualLimits = limits{busy: 50 * time.Millisecond, stall: 3 * time.Second, words: time.Second}

//go:embed boot.sh
var bootScript string

// script returns what is sent, with the nonce put in.
func script(nonce string) string {
	var b strings.Builder
	for line := range strings.Lines(bootScript) {
		if line = strings.TrimLeft(line, " "); line != "\n" && !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return strings.ReplaceAll(b.String(), "@NONCE@", nonce)
}

// answerPrefix begins each line that is an answer. The script does not contain it: a terminal that echoes is no shell.
func answerPrefix(nonce string) string { return "AFAR1 " + nonce + " " }

// A session is the caller's side of the dialogue with the script. One goroutine runs it; the transcript and the channels
// are all that others look at.
type session struct {
	link   io.ReadWriter
	choose func(ctx context.Context, system string) (*Image, error)
	in     *bufio.Reader
	nonce  string
	limits limits
	clock  *clock
	fresh  bool // nothing is taken from the cache

	log     transcript
	failed  chan error    // the first error in writing
	sent    chan struct{} // closed when all is written that was given to send
	uploads int
	watch   watch
}

func newSession(link io.ReadWriter, patience time.Duration, choose func(ctx context.Context, system string) (*Image, error)) *session {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // It never fails.
	sent := make(chan struct{})
	close(sent)
	return &session{
		link:   link,
		choose: choose,
		in:     bufio.NewReaderSize(link, lineLimit),
		nonce:  hex.EncodeToString(random),
		limits: usualLimits,
		clock:  newClock(patience),
		failed: make(chan error, 1),
		sent:   sent,
		log:    transcript{stage: StageNoShell},
	}
}

var errTerminal = errors.New("its lines end as those of a terminal, which changes bytes; was the command told to make one, as by -t?")

// run holds the dialogue: hello, the image's name, its bytes if they are needed, the program's first line.
func (s *session) run(ctx context.Context) (*Arrival, error) {
	s.sendText(script(s.nonce))
	system, err := s.hello()
	if err != nil {
		return nil, err
	}
	s.log.reach(StageNoProgram)
	image, packed, err := s.find(ctx, system)
	if _, ok := errors.AsType[*Error](err); ok {
		return nil, err
	} else if err != nil {
		return nil, s.log.fail(err)
	}
	s.log.reach(StageUpload)
	cached, err := s.install(ctx, image, packed)
	if err != nil {
		return nil, err
	}
	return s.arrive(&Arrival{Image: image, System: system, Cached: cached})
}

// find returns the image for a system, and how large it is when it is compressed. Building and compressing take as long as
// they take: it is not the far side that is waited for.
func (s *session) find(ctx context.Context, system string) (*Image, int64, error) {
	s.clock.stop()
	defer s.clock.answered()
	image, err := s.choose(ctx, system)
	if err == nil && image == nil {
		err = errors.New("there is none")
	}
	if err != nil {
		return nil, 0, err
	}
	packed, err := image.CompressedSize()
	return image, packed, err
}

// hello waits for the script's first answer, which names the system.
func (s *session) hello() (system string, err error) {
	words, err := s.answer()
	if err == nil && words[0] != "hello" {
		err = fmt.Errorf("it answers %q instead of hello", words)
	}
	if err != nil {
		return "", s.log.fail(noShell(err))
	}
	s.log.reach(StageUnknownSystem)
	uname := strings.Join(words[1:], " ")
	if system = systemOf(uname); system == "" {
		return "", s.log.fail(fmt.Errorf("uname -sm says %q", uname))
	}
	s.log.learn(system)
	return system, nil
}

func noShell(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the far side ended without answering as a shell: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// install answers the script's questions until it executes the image.
func (s *session) install(ctx context.Context, image *Image, packed int64) (cached bool, err error) {
	word := "image"
	if s.fresh {
		word = "fresh"
	}
	request := fmt.Sprintf("%s %s %d %d ", word, image.Hash(), packed, image.Size())
	s.sendText(request + "-\n")
	for {
		words, err := s.answer()
		if err != nil {
			return false, s.log.fail(cutOff(err))
		}
		switch strings.Join(words[:min(2, len(words))], " ") {
		case "start have", "start new":
			cached = words[1] == "have"
			s.log.start(cached)
			s.clock.start(cached)
			return cached, nil
		case "need gzip":
			err = s.upload(packed, image.Compressed)
		case "need raw":
			err = s.upload(image.Size(), image.Open)
		case "sent":
			s.sendText("go\n")
		default:
			if words[0] != "busy" || len(words) != 3 {
				return false, s.refused(words, image)
			}
			stale := s.watch.stale(words[1], words[2] == "1", time.Now(), s.limits.stall)
			if err = pause(ctx, s.limits.busy); err == nil {
				s.sendText(request + stale + "\n")
			}
		}
		if err != nil {
			return false, s.log.fail(err)
		}
	}
}

// upload sends exactly as many bytes as were announced. Nothing may follow them until the far side says something: its
// head may take more from a pipe than it passes on.
func (s *session) upload(size int64, open func() (io.ReadCloser, error)) error {
	if s.uploads++; s.uploads > uploadLimit {
		return errors.New("the far side wants the image again and again")
	}
	r, err := open()
	if err != nil {
		return err
	}
	s.send(func() error {
		defer r.Close()
		if n, err := io.Copy(s.out(), io.LimitReader(r, size)); err != nil || n != size {
			return errors.Join(fmt.Errorf("%d of %d bytes of the image were sent", n, size), err)
		}
		return nil
	})
	return nil
}

// refused makes an error of the far side's last answer.
func (s *session) refused(words []string, image *Image) error {
	switch strings.Join(words, " ") {
	case "error space":
		s.log.reach(StageNoSpace)
		return s.log.fail(errors.New("no directory has room for the image"))
	case "error directory":
		// A full disk may have no room for a directory either; what mkdir says is in English more often than not.
		s.log.reach(StageNoDirectory)
		if s.log.heard("No space left on device") {
			s.log.reach(StageNoSpace)
		}
		return s.log.fail(errors.New("there is none that programs can be written to and executed in"))
	case "error hash":
		s.log.reach(StageHash)
		return s.log.fail(fmt.Errorf("what arrived is not image %s", image.Hash()))
	case "error upload":
		return s.log.fail(errors.New("what arrived cannot be decompressed"))
	}
	return s.log.fail(fmt.Errorf("the far side answers %q", words))
}

// arrive waits for the program to say that it is an agent.
func (s *session) arrive(a *Arrival) (*Arrival, error) {
	words, err := s.answer()
	switch {
	case errors.Is(err, io.EOF):
		return nil, s.log.fail(fmt.Errorf("%w, or the program ended before it came there", errMain))
	case err != nil:
		return nil, s.log.fail(err)
	case words[0] == "error":
		return nil, s.log.fail(errors.New("the image cannot be executed"))
	case words[0] != "agent":
		return nil, s.log.fail(fmt.Errorf("the program answers %q", words))
	}
	<-s.sent
	ahead, _ := s.in.Peek(s.in.Buffered())
	a.Link = io.MultiReader(bytes.NewReader(ahead), s.link)
	return a, nil
}

// answer returns the words of the next answer, at least one. What comes before it is noise, even on the same line.
func (s *session) answer() ([]string, error) {
	prefix := []byte(answerPrefix(s.nonce))
	for {
		line, err := s.in.ReadSlice('\n')
		noise, rest, found := bytes.Cut(line, prefix)
		if noiseErr := s.log.hear(noise); noiseErr != nil {
			return nil, noiseErr
		}
		if words := strings.Fields(string(rest)); found && err == nil && len(words) > 0 {
			s.clock.answered()
			if bytes.HasSuffix(rest, []byte("\r\n")) {
				s.log.reach(StageTerminal)
				return nil, errTerminal
			}
			return words, nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}

// out is the link, to be written to.
func (s *session) out() io.Writer { return &outlet{s.link, s.clock} }

func (s *session) sendText(text string) {
	s.send(func() error {
		_, err := io.WriteString(s.out(), text)
		return err
	})
}

// send writes in the background, in the order of the calls: the far side may have to be read meanwhile, or it would not
// read either.
func (s *session) send(write func() error) {
	before, done := s.sent, make(chan struct{})
	s.sent = done
	go func() {
		defer close(done)
		<-before
		if err := write(); err != nil {
			select {
			case s.failed <- err:
			default:
			}
		}
	}()
}

// cutOff names the end of the link in the middle of the dialogue.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the far side ended: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A watch observes somebody else's upload.
type watch struct {
	owner string
	moved time.Time // when it was last seen to make progress
}

// stale returns whose upload is to be taken over, "-" if it makes progress.
func (w *watch) stale(owner string, grown bool, now time.Time, limit time.Duration) string {
	if owner != w.owner || grown {
		*w = watch{owner, now}
	}
	if now.Sub(w.moved) < limit {
		return "-"
	}
	return owner
}
