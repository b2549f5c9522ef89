package channel

import (
	"io"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/mux"
)

// A holder that says what is no item may have meant one: the channel ends, with the
// reason, and nothing else.
func TestHolderOfGarbage(t *testing.T) {
	for name, items := range map[string][]string{
		"empty": {""}, "unknown": {"\x09"}, "stop with more": {"\x01x"}, "returned what it never had": {"\x02x"},
		"returned twice": {"\x01", "\x02x", "\x02x"},
	} {
		onHeld(t, name, func(t *testing.T, h *held, far *End) {
			s, other := h.open(), h.bind()
			if name == "returned twice" {
				s.Grant()
			}
			say(t, far, "x")
			synctest.Wait()
			for _, item := range items {
				if err := s.Send(t.Context(), []byte(item), nil); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if s.Err() == nil {
				t.Error("the handle is not ended")
			}
			for _, e := range []*End{h.End, far, other} {
				endsWith(t, e, func(err error) bool { return err == io.EOF || mentions("malformed")(err) })
			}
			if h.owner.Session().Err() != nil || h.holder.Session().Err() != nil {
				t.Error("a link has ended")
			}
		})
	}
}

// FuzzHolder has a holder say anything.
func FuzzHolder(f *testing.F) {
	f.Add("\x00item", "\x01", "\x02x", "\x00\x00\x03")
	f.Add("", "\x09", "\x02", "garbage")
	f.Fuzz(func(t *testing.T, first, second, third, ending string) {
		synctest.Test(t, func(t *testing.T) {
			h := newHeld(t)
			far := <-h.far
			say(t, far, numbers(5)...)
			s := h.open()
			if len(first)%2 == 0 {
				s.Grant()
			}
			for _, item := range []string{first, second, third} {
				_ = s.Send(t.Context(), []byte(item), nil) // it may have been ended
			}
			synctest.Wait()
			s.Finish([]byte(ending)[:min(len(ending), mux.MaxFinish)])
			synctest.Wait()
			if h.owner.Session().Err() != nil || h.holder.Session().Err() != nil {
				t.Error("a link has ended")
			}
			h.Close(ErrClosed)
		})
	})
}
