package testlink_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/afar-go/afar/internal/testlink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns a Link and the other side of what it wraps.
func pair(t *testing.T) (*testlink.Link, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	link := testlink.Wrap(near)
	t.Cleanup(func() {
		_ = far.Close()
		if err := link.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return link, far
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if n, err := w.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("Write %q: %d, %v", text, n, err)
	}
}

func read(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

func TestPassesBytesOnInBothDirections(t *testing.T) {
	link, far := pair(t)
	write(t, link, "there")
	read(t, far, "there")
	write(t, far, "and back")
	read(t, link, "and back")
	if err := link.Writev([]byte("in "), nil, []byte("parts")); err != nil {
		t.Fatal(err)
	}
	read(t, far, "in parts")
	if in, out := link.BytesIn(), link.BytesOut(); in != 8 || out != 13 {
		t.Errorf("counted %d in, %d out, want 8 and 13", in, out)
	}
}

func TestEndOfTheFarSideComesAfterItsBytes(t *testing.T) {
	link, far := pair(t)
	link.Stall()
	write(t, far, "last")
	_ = far.Close()
	link.Resume()
	read(t, link, "last")
	if n, err := link.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read at the end: %d, %v", n, err)
	}
}

func TestDelayKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, far := pair(t)
		start := time.Now()
		link.Delay(time.Minute)
		write(t, link, "slow ")
		link.Delay(time.Second)
		write(t, link, "fast")
		read(t, far, "slow fast") // what is fast does not overtake
		if took := time.Since(start); took != time.Minute {
			t.Errorf("there took %v, want 1m", took)
		}
		start = time.Now()
		write(t, far, "back")
		read(t, link, "back")
		if took := time.Since(start); took != time.Second {
			t.Errorf("back took %v, want 1s", took)
		}
	})
}

func TestDelayDoesNotThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, far := pair(t)
		link.Delay(time.Second)
		start := time.Now()
		for range 100 {
			write(t, link, "x")
		}
		read(t, far, string(bytes.Repeat([]byte("x"), 100)))
		if took := time.Since(start); took != time.Second {
			t.Errorf("100 writes took %v together, want 1s", took)
		}
	})
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, far := pair(t)
		link.Throttle(1000)
		start := time.Now()
		text := string(bytes.Repeat([]byte("x"), 5000))
		write(t, link, text)
		read(t, far, text)
		if took := time.Since(start); took < 4900*time.Millisecond || took > 5100*time.Millisecond {
			t.Errorf("5000 bytes at 1000 a second took %v", took)
		}
		link.Throttle(0)
		start = time.Now()
		write(t, link, text)
		read(t, far, text)
		if took := time.Since(start); took > 20*time.Millisecond {
			t.Errorf("without a limit it took %v", took)
		}
	})
}

func TestStallIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, far := pair(t)
		link.Stall()
		got := make(chan byte, 1)
		go func() {
			var b [1]byte
			if _, err := far.Read(b[:]); err == nil {
				got <- b[0]
			}
		}()
		write(t, link, "x") // is taken, and not an error
		time.Sleep(time.Hour)
		select {
		case <-got:
			t.Fatal("a stalled link passed a byte")
		default:
		}
		link.Resume()
		if b := <-got; b != 'x' {
			t.Errorf("got %q after Resume", b)
		}
	})
}

func TestStallFillsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, _ := pair(t)
		link.Stall()
		done := make(chan error, 1)
		go func() {
			_, err := link.Write(make([]byte, 1<<20))
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("a stalled link took a megabyte: %v", err)
		default:
		}
		link.Cut()
		if err := <-done; !errors.Is(err, testlink.ErrCut) {
			t.Errorf("the writer that waited got %v", err)
		}
		if n := link.BytesOut(); n < 256<<10 || n > 300<<10 {
			t.Errorf("%d bytes were taken", n)
		}
	})
}

func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, far := pair(t)
		link.Delay(time.Hour)
		write(t, link, "lost")
		waiting := make(chan error, 1)
		go func() {
			_, err := link.Read(make([]byte, 1))
			waiting <- err
		}()
		synctest.Wait()
		link.Cut()
		if err := <-waiting; !errors.Is(err, testlink.ErrCut) {
			t.Errorf("the reader that waited got %v", err)
		}
		if _, err := link.Write([]byte("x")); !errors.Is(err, testlink.ErrCut) {
			t.Errorf("Write gave %v", err)
		}
		if n, err := far.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("the far side read %d, %v", n, err)
		}
	})
}

func TestCorrupt(t *testing.T) {
	link, far := pair(t)
	link.Corrupt(3)
	text := make([]byte, 9)
	write(t, link, string(text))
	got := make([]byte, len(text))
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if flipped := b != 0; flipped != (i%3 == 2) || flipped && b&(b-1) != 0 {
			t.Errorf("byte %d became %08b", i, b)
		}
	}
	link.Corrupt(0)
	write(t, link, "whole")
	read(t, far, "whole")
}

func TestCloseEndsWhoeverWaits(t *testing.T) {
	link, _ := pair(t)
	link.Stall()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if _, err := link.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("Read gave %v", err)
			}
		})
		wg.Go(func() {
			if _, err := link.Write(make([]byte, 1<<20)); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("Write gave %v", err)
			}
		})
	}
	if err := link.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
	if err := link.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}
