package launch

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Without the descriptor, the path gives the same identity.
func TestImageFallBack(t *testing.T) {
	m := (&image{path: selfExe}).fallBack(unix.EACCES)
	if own := ownImage(); m.id != own.id || m.id == "" || m.err != nil {
		t.Errorf("%q %v, want %q", m.id, m.err, own.id)
	}
	if hash, err := m.hash(); err != nil || len(hash) != 64 {
		t.Error(hash, err)
	}
	m.id = "another"
	if hash, err := m.hash(); err == nil {
		t.Errorf("another file's hash was taken: %s", hash)
	}
}

// The image's descriptor is executed unless the child could put another file in its place.
func TestExecutable(t *testing.T) {
	m := ownImage()
	if m.file == nil {
		t.Skip("the image cannot be opened here")
	}
	own := int(m.file.Fd())
	if own < imageDescriptor {
		t.Fatalf("descriptor %d", own)
	}
	byDescriptor := fmt.Sprintf("/proc/self/fd/%d", own)
	open := func(least int) *os.File {
		fd, err := unix.FcntlInt(m.file.Fd(), unix.F_DUPFD_CLOEXEC, least)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), "duplicate")
		t.Cleanup(func() { file.Close() })
		return file
	}
	low, near, above := open(20), open(own-3), open(own+1)
	if near.Fd() > uintptr(own) {
		t.Skip("the descriptors below the image's are taken")
	}
	for _, test := range []struct {
		childs []*os.File
		want   string
	}{
		{[]*os.File{low, low, low}, byDescriptor},
		{[]*os.File{low, near, low}, selfExe},
		{[]*os.File{above, near, low}, byDescriptor},
		{make([]*os.File, 0), byDescriptor},
	} {
		if got := m.executable(test.childs...); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
	if got := (&image{path: "/program"}).executable(low); got != "/program" {
		t.Error(got)
	}
}
