package check_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// TestErrorsSayWhatIsWrong has an error of each kind, in full.
func TestErrorsSayWhatIsWrong(t *testing.T) {
	lease := queue.Lease{ID: "t", Token: 1}
	take := queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute}
	short := take
	short.Lease = 5 * time.Millisecond
	none := take
	none.Max = 0
	impatient := take
	impatient.Wait = -time.Second
	for _, c := range []struct {
		err  error
		want string
	}{
		{check.Queue(""), "the name of the queue is empty"},
		{check.Queue("a b"), `the name of the queue "a b" has other bytes than printable ASCII without spaces`},
		{check.Queue(strings.Repeat("n", 129)), "the name of the queue has 129 bytes: at most 128"},
		{check.Take(short), "the lease of 5ms is too short: at least 100ms"},
		{check.Take(none), "0 deliveries cannot be taken: Max is at least 1"},
		{check.Take(impatient), "the wait of -1s is negative"},
		{check.Tasks([]queue.Task{{ID: "t", Body: make([]byte, check.MaxTask)}}), `task "t": the task is too large: 262145 bytes, at most 262144`},
		{check.Tasks([]queue.Task{{ID: "t", Priority: 2}}), `task "t": there is no priority 2`},
		{check.Tasks([]queue.Task{{ID: "t", Blobs: []string{"x"}}}), `task "t": the blob's name "x" is not a SHA-256 in hexadecimal`},
		{check.Renew("w", []queue.Beat{{Lease: lease, For: 1}}), `task "t": the lease of 1ns is too short: at least 100ms`},
		{check.Renew("w", []queue.Beat{{Lease: lease, For: time.Minute, Log: [][]byte{make([]byte, check.MaxRecord+1)}}}),
			`task "t": the log record is too large: 65537 bytes, at most 65536`},
		{check.Settle([]queue.Settlement{{Lease: lease, Worker: "w", Ending: 9}}), `task "t": there is no ending 9`},
		{check.Settle([]queue.Settlement{{Lease: lease, Ending: queue.EndDone}}), `task "t": the name of the worker is empty`},
		{check.Follow(queue.Topic{Task: "t", Client: "c"}, 0), "a topic is that of a task or that of a client, not both"},
		{check.Query(queue.Query{Limit: -2}), "the limit of -2 tasks is negative"},
		{check.Change(queue.Change{}), "there is no verb 0"},
		{check.Change(queue.Change{Verb: queue.Leave}), "the name of the worker is empty"},
		{check.Wrap("q", queue.ErrClosed), `queue "q": queue: closed`},
	} {
		if c.err == nil || c.err.Error() != c.want {
			t.Errorf("the error is %v, not %s", c.err, c.want)
		}
	}
}

// TestWhatIsRightIsNotRefused has the largest of everything.
func TestWhatIsRightIsNotRefused(t *testing.T) {
	name := strings.Repeat("~", check.MaxName)
	lease := queue.Lease{ID: name, Token: 1}
	task := queue.Task{ID: name, Label: strings.Repeat("l", check.MaxLabel), Group: name, Client: name, Priority: queue.Low}
	task.Blobs = []string{strings.Repeat("f", 64)}
	task.Body = make([]byte, check.MaxTask-check.Size(&task))
	for i, err := range []error{
		check.Wrap("q", nil),
		check.Queue(name),
		check.Tasks([]queue.Task{task, {ID: "!"}}),
		check.Take(queue.TakeRequest{Worker: name, Max: 1, Lease: check.MinLease}),
		check.Renew(name, nil),
		check.Renew(name, []queue.Beat{{Lease: lease, For: check.MinLease, Log: [][]byte{make([]byte, check.MaxRecord), nil}}}),
		check.Settle([]queue.Settlement{{Lease: lease, Worker: name, Ending: queue.EndDone, Outcome: make([]byte, check.MaxOutcome), Error: make([]byte, check.MaxError)}}),
		check.Follow(queue.Topic{}, 0),
		check.Follow(queue.Topic{Task: name}, time.Hour),
		check.Query(queue.Query{IDs: []string{name}, State: queue.StateCanceled}),
		check.Change(queue.Change{Verb: queue.Purge, Outcome: make([]byte, check.MaxOutcome)}),
		check.Change(queue.Change{Verb: queue.Leave, Worker: name}),
		check.Blob(strings.Repeat("0", 64), 0),
	} {
		if err != nil {
			t.Errorf("%d is refused: %v", i, err)
		}
	}
}

func TestReaderGivesWhatTheHashSays(t *testing.T) {
	const text = "what the hash says"
	sum := sha256.Sum256([]byte(text))
	hash := hex.EncodeToString(sum[:])
	for _, c := range []struct {
		name, text string
		size       int64
		damaged    bool
	}{
		{"whole", text, int64(len(text)), false},
		{"of any size", text, -1, false},
		{"short", text[1:], int64(len(text)), true},
		{"shorter than it says", text, int64(len(text)) + 1, true},
		{"long", text + "!", int64(len(text)), true},
		{"other", strings.ToUpper(text), int64(len(text)), true},
		{"other of any size", text[1:], -1, true},
		{"empty", "", 0, true},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.text), iotest.OneByteReader(strings.NewReader(c.text)), iotest.DataErrReader(strings.NewReader(c.text))} {
			got, err := io.ReadAll(check.Reader(r, hash, c.size))
			if errors.Is(err, queue.ErrDamaged) != c.damaged || !c.damaged && (err != nil || string(got) != text) {
				t.Errorf("%s: it is read as %q, %v", c.name, got, err)
			}
		}
	}
	broken := errors.New("broken")
	if _, err := io.ReadAll(check.Reader(iotest.ErrReader(broken), hash, -1)); !errors.Is(err, broken) {
		t.Errorf("what cannot be read gives %v", err)
	}
}
