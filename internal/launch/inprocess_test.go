package launch

import (
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestInProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := InProcess(Spec{}, func(link Link) { _, _ = io.Copy(link, link) })
		if w.PID() != os.Getpid() || w.RSS() != 0 {
			t.Error(w.PID(), w.RSS())
		}
		if _, err := w.Link().Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 10)
		if n, err := w.Link().Read(buf); string(buf[:n]) != "hello" || err != nil {
			t.Errorf("%q %v", buf[:n], err)
		}
		synctest.Wait()
		select {
		case <-w.Done():
			t.Error("done too early")
		default:
		}
		w.Link().Close()
		if got := w.Exit(); got != (Exit{}) {
			t.Errorf("%#v", got)
		}
		if err := w.Kill(); err != nil || w.Exit() != (Exit{}) {
			t.Errorf("Kill after the end: %v, %#v", err, w.Exit())
		}
	})
}

func TestInProcessReturns(t *testing.T) {
	w := InProcess(Spec{}, func(link Link) { _, _ = link.Write([]byte("bye")) })
	if got := w.Exit(); got != (Exit{}) {
		t.Errorf("%#v", got)
	}
	if last, err := io.ReadAll(w.Link()); string(last) != "bye" || err != nil {
		t.Errorf("%q %v", last, err)
	}
}

func TestInProcessKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := make(chan error)
		w := InProcess(Spec{}, func(link Link) {
			_, _ = link.Write([]byte("last"))
			time.Sleep(time.Hour) // A function that does not look at its link; the clock is the bubble's.
			_, err := link.Read(make([]byte, 1))
			served <- err
		})
		synctest.Wait()
		for range 2 {
			if err := w.Kill(); err != nil {
				t.Error(err)
			}
		}
		if got := w.Exit(); got != (Exit{Code: -1, Signal: "killed"}) {
			t.Errorf("%#v", got)
		}
		if last, err := io.ReadAll(w.Link()); string(last) != "last" || err != nil {
			t.Errorf("%q %v", last, err)
		}
		if _, err := w.Link().Write([]byte("x")); err != io.ErrClosedPipe {
			t.Error(err)
		}
		if err := <-served; err != io.ErrClosedPipe {
			t.Error(err)
		}
	})
}
