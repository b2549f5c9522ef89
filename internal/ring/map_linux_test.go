package ring

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Two mappings of one file are the two ends of a memory, which nobody can shrink.
func TestNewAndOpen(t *testing.T) {
	near, file, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer file.Close()
	far, err := Open(file.Fd())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(int(file.Fd()), 0); err == nil {
		t.Error("the memory can be taken away")
	}
	far.Listen()
	if !near.Put([]byte("he"), []byte("llo")) {
		t.Fatal("no room")
	}
	if got, err := far.Take(nil, 5); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	far.Close() // unmaps, which the other end does not notice
	if !near.Put([]byte("more"), nil) {
		t.Error("no room after the other end's Close")
	}
}

func TestOpenWhatIsNotMemory(t *testing.T) {
	if _, err := Open(^uintptr(0)); err == nil {
		t.Error("opened no file")
	}
}
