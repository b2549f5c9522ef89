package afar_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/afar-go/afar"
)

// Functions that many tests use.
var (
	square   = afar.Func(squareOf)
	workerID = afar.Func(pidOf)
	failing  = afar.Func(fail)
	mortal   = afar.Func(die)
	spinner  = afar.Func(spin)
)

func squareOf(_ context.Context, n int) (int, error) { return n * n, nil }

func pidOf(context.Context, struct{}) (int, error) { return os.Getpid(), nil }

func fail(_ context.Context, text string) (int, error) { return 0, errors.New(text) }

// death says how and when a function ends its process.
type death struct {
	N      int
	File   string // where the attempts are counted, if at all
	Times  int    // the process dies at the first so many attempts
	Code   int    // its exit status; 0: SIGKILL
	Spoken string // printed before
}

// die returns the square of N, unless it dies.
func die(_ context.Context, d death) (int, error) {
	attempt := 1
	if d.File != "" {
		attempt = tally(d.File)
	}
	if attempt > d.Times {
		return d.N * d.N, nil
	}
	if d.Spoken != "" {
		fmt.Fprintln(os.Stderr, d.Spoken)
	}
	if d.Code != 0 {
		os.Exit(d.Code)
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		return 0, err
	}
	select {}
}

// tally counts its calls in a file, across processes.
func tally(file string) int {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString("."); err != nil {
		panic(err)
	}
	return count(file)
}

// count returns what tally has counted.
func count(file string) int {
	info, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		panic(err)
	}
	return int(info.Size())
}

// spin never ends if told so: it heeds no context.
func spin(_ context.Context, v visit) (int, error) {
	if v.Stubborn {
		conn, err := arrive(v.Desk, v.Name)
		if err != nil {
			return 0, err
		}
		keep(conn)
		for forever := 0; ; forever++ {
		}
	}
	return len(v.Name), nil
}
