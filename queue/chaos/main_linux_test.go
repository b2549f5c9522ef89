package chaos_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/natsq"
	"github.com/afar-go/afar/queue/redisq"
)

// The test binary plays every part: it runs the tests, and with partVariable it is a process that
// a test starts and kills.
const (
	partVariable = "AFAR_CHAOS_PART"
	markVariable = "AFAR_CHAOS_MARK" // by which a test knows its processes, and their children
)

// patience bounds every wait for an event that must come; tests that pass do not come near it.
const patience = 2 * time.Minute

// part says what a process is.
type part struct {
	Role  string // a key of roles
	Name  string // of the worker
	URL   string // of the broker
	Queue string
	Dir   string
	Lease time.Duration
	Tasks int // of a worker, at a time; 0: 4

	From, To int // of a submitter's tasks

	Key, Authorized string // files of a node
}

// roles end when ctx does, which it does with the input of the process.
var roles = map[string]func(ctx context.Context, p *part) error{
	"submitter": beSubmitter,
	"worker":    beWorker,
	"nats":      beNATS,
	"node":      beNode,
}

func TestMain(m *testing.M) {
	afar.Main()
	if text := os.Getenv(partVariable); text != "" {
		if err := play(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(tasksVariable) == "" {
		fmt.Println("skipped: they take minutes of a machine of their own;", tasksVariable+"=3000 runs them")
		return
	}
	goleak.VerifyTestMain(m)
}

// tasksVariable is how many tasks the ledgers have. Without it nothing is run.
const tasksVariable = "AFAR_CHAOS_TASKS"

func play(text string) error {
	var p part
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return roles[p.Role](ctx, &p)
}

// broker is one with what ends it.
type broker interface {
	queue.Broker
	Close() error
}

// openBroker opens the broker at a URL, as soon as it is there: a process may be started while its
// server is not.
func openBroker(ctx context.Context, url string) (broker, error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for late := time.Now().Add(patience); ; {
		b, err := dial(ctx, url)
		if err == nil {
			return b, nil
		}
		if time.Now().After(late) {
			return nil, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func dial(ctx context.Context, url string) (broker, error) {
	if strings.HasPrefix(url, "nats:") {
		b, err := natsq.Open(ctx, url)
		if err != nil {
			return nil, err
		}
		return b, nil
	}
	b, err := redisq.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func beNATS(ctx context.Context, p *part) error {
	b, err := natsq.Config{Dir: p.Dir, Listen: "127.0.0.1:0"}.Embedded(ctx)
	if err != nil {
		return err
	}
	fmt.Println(b.URL())
	<-ctx.Done()
	return b.Close()
}

func beWorker(ctx context.Context, p *part) error {
	b, err := openBroker(ctx, p.URL)
	if err != nil {
		return err
	}
	err = queue.New(b, p.Queue).Work(ctx, queue.WorkConfig{Concurrency: cmp.Or(p.Tasks, 4), Lease: p.Lease, Name: p.Name,
		Ready: func() { fmt.Println("ready") }})
	if closing := b.Close(); err == nil {
		err = closing
	}
	return err
}

// chore is what is done. It leaves an effect, and stops at a gate.
var chore = afar.Func(doChore)

// order is the input of a chore.
type order struct {
	N    int
	Dir  string // of effects; "": none
	Gate string // a pipe that the first attempt waits at, until a test has opened and closed it
	Fail bool   // the first attempt does
	Pad  []byte // so that it is large; the proof is as large
}

// proof is what comes of it.
type proof struct {
	Task    string
	Square  int
	Attempt int
	Token   uint64
	PID     int
	Program string
	Pad     []byte
}

// effect is what an attempt leaves behind, whatever becomes of it.
type effect struct {
	Task    string
	Attempt int
	Token   uint64
	PID     int
	At      int64 // in microseconds
}

func doChore(ctx context.Context, in order) (proof, error) {
	r, _ := queue.Current(ctx)
	if in.Dir != "" {
		if err := leave(in.Dir, effect{r.ID, r.Attempt, r.Token, os.Getpid(), time.Now().UnixMicro()}); err != nil {
			return proof{}, err
		}
	}
	if in.Gate != "" && r.Attempt == 1 {
		if _, err := os.ReadFile(in.Gate); err != nil {
			return proof{}, err
		}
	}
	if in.Fail && r.Attempt == 1 {
		return proof{}, errFirst
	}
	if in.N%16 == 0 { // one that takes some milliseconds, so that it is killed in the middle
		for b := make([]byte, 1<<20); b[0] < 4; b[0]++ {
			b[1] += sha256.Sum256(b)[0]
		}
	}
	program, err := os.Executable()
	return proof{r.ID, in.N * in.N, r.Attempt, r.Token, os.Getpid(), program, in.Pad}, err
}

var errFirst = errors.New("the first attempt fails")

// leave appends an effect to a file of this process, in one write.
func leave(dir string, e effect) error {
	return appendTo(filepath.Join(dir, fmt.Sprint("effects-", e.PID)),
		fmt.Sprintln(e.Task, e.Attempt, e.Token, e.PID, e.At))
}

// appendTo appends a line to a file in one write.
func appendTo(path, line string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within returns a context that a test does not outlive.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
