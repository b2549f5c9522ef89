package main

import (
	"context"
	"errors"
	"image"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/proctest"
)

// asProgram in the environment has this binary be the program, so that tests run it in processes
// of its own, with the race detector.
const asProgram proctest.Program = "THUMBNAILS_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(string(asProgram)) != "" {
		main()
		os.Exit(0)
	}
	afar.Main()
	goleak.VerifyTestMain(m)
}

// The program by itself: thumbnails of all pictures but the damaged one, which has been tried as
// often as it may.
func TestProgram(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pictures")
	asProgram.Ask(t, "", "", "-make=6", dir)
	o := asProgram.Execute(t, dir)
	if o.Status != 1 || o.Stderr != "thumbnails: 1 pictures have no thumbnail\n" {
		t.Errorf("%+v", o)
	}
	for _, want := range []string{"000.png: 64 x 48\n", "003.jpg: 64 x 36\n", "005.jpg: queue: no attempt is left: ", "6 pictures, 5 thumbnails\n"} {
		if !strings.Contains(o.Stdout, want) {
			t.Errorf("no %q in\n%s", want, o.Stdout)
		}
	}
	checkAttempts(t, o.Stdout)
	checkThumbnails(t, dir, 5)
	asProgram.Ask(t, "", "need a -broker", "-requeue")
	asProgram.Ask(t, "", "name one directory")
	asProgram.Ask(t, "", "no such file", filepath.Join(dir, "nothing"))
}

// checkAttempts checks that the last attempts which were printed are those of a dead letter.
func checkAttempts(t *testing.T, printed string) {
	t.Helper()
	_, letter, _ := strings.Cut(printed, "dead letter ")
	attempt := regexp.MustCompile(`(?m)^  attempt (\d): .*/\d+\.(jpg|png): .*(short Huffman data|unexpected EOF)$`)
	var got []string
	for _, a := range attempt.FindAllStringSubmatch(letter, -1) {
		got = append(got, a[1])
	}
	if strings.Join(got, " ") != "1 2 3" {
		t.Errorf("attempts %q in\n%s", got, printed)
	}
}

// checkThumbnails checks that the first n pictures of makePictures have good thumbnails, and the others none.
func checkThumbnails(t *testing.T, dir string, n int) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, "small"))
	if err != nil || len(files) != n {
		t.Errorf("%d thumbnails: %v, %v", n, files, err)
	}
	for _, f := range files {
		picture, err := readPicture(filepath.Join(dir, "small", f.Name()))
		if err != nil {
			t.Error(err)
		} else if b := picture.Bounds(); max(b.Dx(), b.Dy()) != 64 {
			t.Errorf("%s: %v", f.Name(), b)
		}
	}
}

// A dead letter stays until its cause is gone and somebody says so, whichever processes
// come and go.
func TestRequeue(t *testing.T) {
	broker := "-broker=" + proctest.Redis(t)
	dir := filepath.Join(t.TempDir(), "pictures")
	asProgram.Ask(t, "", "", "-make=4", dir)
	worker := asProgram.Start(t, broker, "-work")
	if o := asProgram.Execute(t, broker, dir); o.Status != 1 || !strings.Contains(o.Stdout, "4 pictures, 3 thumbnails") {
		t.Errorf("%+v", o)
	}
	dead := asProgram.Execute(t, broker, "-dead")
	checkAttempts(t, dead.Stdout)
	if o := asProgram.Execute(t, broker, "-requeue"); o.Status != 1 || !strings.Contains(o.Stderr, "1 of 1 have failed again") {
		t.Errorf("requeued, but not repaired: %+v", o)
	}
	if again := asProgram.Execute(t, broker, "-dead"); again.Stdout != dead.Stdout {
		t.Errorf("then the dead letters are\n%s", again.Stdout)
	}

	if err := writePicture(filepath.Join(dir, "003.jpg"), draw(3), 0); err != nil {
		t.Fatal(err)
	}
	if o := asProgram.Execute(t, broker, "-requeue"); o.Status != 0 || !strings.HasSuffix(o.Stdout, ": 64 x 36\n") {
		t.Errorf("repaired: %+v", o)
	}
	checkThumbnails(t, dir, 4)
	asProgram.Ask(t, "", "", broker, "-dead")
	if o := asProgram.Execute(t, broker, dir); o.Status != 0 || !strings.Contains(o.Stdout, "4 pictures, 4 thumbnails") {
		t.Errorf("all once more: %+v", o)
	}
	worker.Interrupt(t)
	if o := worker.End(t); o.Status != 0 || o.Stderr != "" {
		t.Errorf("the worker: %+v", o)
	}
}

// A customer who goes in the middle and comes back finds done what was done: each thumbnail is made
// once.
func TestInterrupted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pictures")
	if err := makePictures(dir, 9); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "008.png")); err != nil { // the damaged one
		t.Fatal(err)
	}
	pool, err := afar.Open(t.Context(), "inproc:1")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	q, stop := inMemory(t.Context(), pool)
	defer stop()
	ctx, interrupt := context.WithCancel(within(t))
	defer interrupt()
	if err := (&studio{queue: q, stdout: writer(interrupt)}).shrink(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if err := (&studio{queue: q, stdout: io.Discard}).shrink(within(t), dir); err != nil {
		t.Error(err)
	}
	if s, err := q.Stats(within(t)); s.Done != 8 || err != nil {
		t.Errorf("%d tasks were done for 8 pictures, %v", s.Done, err)
	}
	checkThumbnails(t, dir, 8)
}

// writer does something whenever something is written.
type writer func()

func (w writer) Write(b []byte) (int, error) {
	w()
	return len(b), nil
}

// What a worker has left behind that was killed while it wrote is gone after the next attempt, and a
// picture that cannot be written leaves nothing behind.
func TestParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "000.png")
	if err := os.WriteFile(part(path, 1), []byte("the first ha"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writePicture(path, draw(0), 2); err != nil {
		t.Error(err)
	}
	if err := writePicture(path, image.NewGray(image.Rectangle{}), 3); err == nil {
		t.Error("a picture without points was written")
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 || files[0].Name() != "000.png" {
		t.Errorf("%v, %v", files, err)
	}
	if picture, err := readPicture(path); err != nil || picture.Bounds().Dx() != 320 {
		t.Errorf("%v", err)
	}
}

// The box filter averages, also where the large picture has no whole number of points for one of
// the small one.
func TestShrink(t *testing.T) {
	large := image.NewGray(image.Rect(10, 20, 15, 24)) // not at the origin
	for y := 20; y < 24; y++ {
		for x := 10; x < 15; x++ {
			large.SetGray(x, y, color.Gray{uint8(40 * (x - 10))})
		}
	}
	small := shrink(large, 2)
	if b := small.Bounds(); b != image.Rect(0, 0, 2, 1) {
		t.Fatalf("%v", b)
	}
	for x, want := range []uint8{20, 120} { // columns 0 and 1, and 2, 3 and 4
		if got := color.GrayModel.Convert(small.At(x, 0)).(color.Gray).Y; got != want {
			t.Errorf("point %d: %d, not %d", x, got, want)
		}
	}
	if shrink(large, 5) != image.Image(large) {
		t.Error("a picture that fits has changed")
	}
}

// within is for as long as something in a test may take.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
