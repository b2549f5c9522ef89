package channel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// supply is items to be received, and how they end.
type supply struct {
	items [][]byte
	end   error
	used  int // items that were given without a copy
}

func (s *supply) recv(context.Context) ([]byte, error) {
	if len(s.items) == 0 {
		return nil, s.end
	}
	item := s.items[0]
	s.items = s.items[1:]
	return slices.Clone(item), nil
}

// use gives an item that is spoilt afterwards.
func (s *supply) use(ctx context.Context, f func([]byte) error) error {
	item, err := s.recv(ctx)
	if err != nil {
		return err
	}
	defer func() {
		for i := range item {
			item[i] = '?'
		}
	}()
	s.used++
	return f(item)
}

func reader(end error, items ...string) (*Reader, *supply) {
	s := &supply{end: end}
	for _, item := range items {
		s.items = append(s.items, []byte(item))
	}
	return NewReader(s.recv, s.use), s
}

func TestReader(t *testing.T) {
	items := []string{"", "a", "", "", strings.Repeat("bcd", 50_000), "e", ""}
	r, _ := reader(io.EOF, items...)
	if err := iotest.TestReader(r, []byte(strings.Join(items, ""))); err != nil {
		t.Error(err)
	}
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"one byte": iotest.OneByteReader, "half": iotest.HalfReader, "data and error": iotest.DataErrReader,
	} {
		r, _ := reader(io.EOF, items...)
		if got, err := io.ReadAll(wrap(r)); err != nil || string(got) != strings.Join(items, "") {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	wrong := errors.New("wrong")
	r, _ = reader(wrong, "abc")
	for _, want := range []string{"ab", "c", ""} {
		p := make([]byte, 2)
		if n, err := r.Read(p); string(p[:n]) != want || (err != nil) != (want == "") || err != nil && err != wrong {
			t.Errorf("%q, %v, want %q", p[:n], err, want)
		}
	}
	if n, err := r.Read(nil); n != 0 || err != nil {
		t.Errorf("nothing asked for: %d, %v", n, err)
	}
}

// fussy is a writer that takes so many bytes and then fails, or says nothing.
type fussy struct {
	bytes.Buffer
	room int
	err  error
}

func (f *fussy) Write(p []byte) (int, error) {
	if len(p) <= f.room {
		f.room -= len(p)
		return f.Buffer.Write(p)
	}
	n, _ := f.Buffer.Write(p[:f.room])
	f.room = 0
	return n, f.err
}

// WriteTo uses the items in place, and what its writer does not take is not lost.
func TestReaderWriteTo(t *testing.T) {
	var all bytes.Buffer
	r, s := reader(io.EOF, "abc", "", "def")
	if n, err := io.ReadFull(r, make([]byte, 2)); n != 2 || err != nil {
		t.Fatal(err)
	}
	if n, err := r.WriteTo(&all); n != 4 || err != nil || all.String() != "cdef" || s.used != 2 {
		t.Errorf("%d, %v, %q, %d items in place", n, err, &all, s.used)
	}
	wrong := errors.New("wrong")
	for room := range 7 {
		for _, end := range []error{wrong, nil} {
			r, _ := reader(io.EOF, "abc", "def", "")
			f := &fussy{room: room, err: end}
			want := end
			if end == nil {
				want = io.ErrShortWrite
			}
			if room == 6 {
				want = nil
			}
			n, err := io.Copy(f, r)
			if n != int64(room) || err != want {
				t.Errorf("room for %d: %d, %v", room, n, err)
			}
			rest, err := io.ReadAll(r)
			if err != nil || f.String()+string(rest) != "abcdef" {
				t.Errorf("room for %d: %q and then %q, %v", room, f, rest, err)
			}
		}
	}
	r, _ = reader(wrong, "abc")
	if n, err := r.WriteTo(&all); n != 3 || err != wrong {
		t.Errorf("%d, %v", n, err)
	}
}

// sink keeps what is sent, until it fails.
type sink struct {
	items  []string
	room   int
	closed int
}

var errFull = errors.New("full")

func (s *sink) send(_ context.Context, p []byte) error {
	if s.room == 0 {
		return errFull
	}
	s.room--
	s.items = append(s.items, string(p))
	return nil
}

func (s *sink) close() error {
	s.closed++
	return nil
}

func TestWriter(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 3*chunk/16)[:2*chunk+1]
	for name, write := range map[string]func(*Writer, string) (int64, error){
		"Write": func(w *Writer, s string) (int64, error) {
			n, err := w.Write([]byte(s))
			return int64(n), err
		},
		"ReadFrom": func(w *Writer, s string) (int64, error) { return io.Copy(w, strings.NewReader(s)) },
		"ReadFrom, small": func(w *Writer, s string) (int64, error) {
			return w.ReadFrom(iotest.DataErrReader(iotest.HalfReader(strings.NewReader(s))))
		},
	} {
		s := &sink{room: -1}
		w := NewWriter(0, s.send, s.close)
		if n, err := write(w, text); n != int64(len(text)) || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if n, err := write(w, ""); n != 0 || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if got := strings.Join(s.items, ""); got != text {
			t.Errorf("%s: %d bytes arrive", name, len(got))
		}
		for _, item := range s.items {
			if len(item) == 0 || len(item) > chunk {
				t.Errorf("%s: an item of %d bytes", name, len(item))
			}
		}
		if err := w.Close(); err != nil || s.closed != 1 {
			t.Errorf("%s: Close: %v, %d times", name, err, s.closed)
		}
		s = &sink{room: 1}
		n, err := write(NewWriter(0, s.send, s.close), text)
		if err != errFull || n != int64(len(s.items[0])) {
			t.Errorf("%s: %d, %v when the second item fails", name, n, err)
		}
	}
	for _, limit := range []int64{1, 1000, chunk + 1} { // of an item
		s := &sink{room: -1}
		w := NewWriter(limit, s.send, s.close)
		_, first := w.Write([]byte(text[:3000]))
		_, second := w.ReadFrom(strings.NewReader(text[3000:]))
		if got := strings.Join(s.items, ""); first != nil || second != nil || got != text {
			t.Errorf("limit %d: %d bytes, %v, %v", limit, len(got), first, second)
		}
		for _, item := range s.items {
			if len(item) > int(min(limit, chunk)) {
				t.Fatalf("an item of %d bytes, limit %d", len(item), limit)
			}
		}
	}
	wrong := errors.New("wrong")
	s := &sink{room: -1}
	n, err := NewWriter(0, s.send, s.close).ReadFrom(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(wrong)))
	if n != 3 || err != wrong {
		t.Errorf("%d, %v", n, err)
	}
}
