package peer

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// pair connects an end under test with a raw one.
func pair(t *testing.T, c Config) (*Conn, *rig) {
	a, b := launch.Pipe()
	r := &rig{t: t}
	conn := Dial(a, c)
	conn.Start()
	r.conn = conn
	r.raw = mux.New(b, mux.Config{Initiator: !c.Initiator}, r)
	r.raw.Start()
	t.Cleanup(r.close)
	return conn, r
}

func hello(h wire.Hello) []byte { return h.Append(nil) }

func TestHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		conn, r := pair(t, Config{Callee: l, Caller: l})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("too late"))
		defer cancel()
		if _, err := conn.Hello(ctx); err == nil || err.Error() != "too late" {
			t.Errorf("got %v", err)
		}
		functions := strings.Split(strings.Repeat("a long name of a function(of types) and so on,", 3000), ",")
		r.post(hello(wire.Hello{Version: wire.Version, Worker: "w", PID: 5, Functions: functions}))
		h, err := conn.Hello(t.Context())
		if err != nil || h.Worker != "w" || h.PID != 5 || len(h.Functions) != len(functions) {
			t.Errorf("got %+v, %v", h, err)
		}
	})
}

func TestHelloOfAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		conn, r := pair(t, Config{Callee: l})
		r.post(append(hello(wire.Hello{Version: wire.Version + 1}), "what nobody knows"...))
		synctest.Wait()
		if _, err := conn.Hello(t.Context()); err == nil || !strings.Contains(err.Error(), "version 1 here, 2 there") {
			t.Errorf("got %v", err)
		}
		if err := conn.Session().Err(); err == nil {
			t.Error("the link lives on")
		}
	})
}

func TestHelloOfALinkThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		conn, r := pair(t, Config{Callee: l})
		_ = r.raw.Close()
		if _, err := conn.Hello(t.Context()); err == nil {
			t.Error("no error")
		}
	})
}

func TestHostileMessages(t *testing.T) {
	greeting := hello(wire.Hello{Version: wire.Version})
	for name, msgs := range map[string][][]byte{
		"empty hello":         {{byte(wire.TypeHello)}},
		"calls before hello":  {chunkMessage(1, in("x"))},
		"cancel before hello": {(&wire.Cancel{}).Append(nil)},
		"park before hello":   {wire.AppendPlace(nil, wire.TypePark, wire.Place{})},
		"hello twice":         {greeting, greeting},
		"unknown":             {greeting, {77}},
		"results, cut":        {greeting, {byte(wire.TypeResults), 1}},
		"results, too many":   {greeting, wire.AppendResults(nil, 1, 0, 1<<30, 0)},
		"cancel, cut":         {greeting, {byte(wire.TypeCancel), 1, 0}},
		"cancel, bad cause":   {greeting, {byte(wire.TypeCancel), 1, 0, 2, 9, 9}},
		"place, cut":          {greeting, {byte(wire.TypeUnpark), 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &listener{}
				conn, r := pair(t, Config{Callee: l, Caller: l})
				l.conn = conn
				for _, m := range msgs {
					r.post(m)
				}
				synctest.Wait()
				if err := conn.Session().Err(); !IsMalformed(err) {
					t.Errorf("the link ended with %v", err)
				}
			})
		})
	}
}

// TestOneStreamOfNotes: a second one is refused, and one that has ended does
// not keep results back.
func TestOneStreamOfNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		conn, r := pair(t, Config{Callee: l, Caller: l, Notes: l.note, Initiator: true})
		l.conn = conn
		r.post(hello(wire.Hello{Version: wire.Version}))
		open := func(purpose string) *mux.Stream {
			s, err := r.raw.Open([]byte(purpose), mux.StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		first := open(string(wire.PurposeNotes))
		for _, purpose := range []string{string(wire.PurposeNotes), "something else", ""} {
			if _, err := open(purpose).Recv(t.Context()); !errors.Is(err, mux.ErrReset) {
				t.Errorf("a stream for %q: %v", purpose, err)
			}
		}
		conn.AfterNotes(3, func() { l.add("after") })
		l.expect(t)
		first.End()
		l.expect(t, "after")
		conn.AfterNotes(9, func() { l.add("later") })
		l.expect(t, "later")
	})
}

func TestNotesThatAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		conn, r := pair(t, Config{Callee: l, Caller: l, Notes: l.note, Initiator: true})
		l.conn = conn
		r.post(hello(wire.Hello{Version: wire.Version}))
		s, err := r.raw.Open([]byte{wire.PurposeNotes}, mux.StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		conn.AfterNotes(3, func() { l.add("after") })
		if err := s.Send(t.Context(), []byte{9}, nil); err != nil {
			t.Fatal(err)
		}
		l.expect(t, "after")
		if err := conn.Session().Err(); !IsMalformed(err) {
			t.Errorf("the link ended with %v", err)
		}
	})
}

// TestSend checks what callers send against what executors read.
func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got [][]byte
		l, _ := listen(t, 1, func(_ context.Context, s string) (string, error) {
			got = append(got, []byte(s))
			return "", nil
		})
		large := bytes.Repeat([]byte("large"), 1<<20)
		info, header := &wire.Info{}, &wire.Info{Header: map[string]string{"k": strings.Repeat("h", 100<<10)}}
		l.conn.Send(1, []Call{{info, []byte("a")}, {info, nil}, {&wire.Info{Attempt: 2}, []byte("b")}}, false)
		l.conn.Send(2, []Call{{info, large}}, false)
		l.conn.Session().Flush()
		l.expect(t, "1.0 ends", "1.1 ends", "1.2 ends", "2.0 ends")
		l.conn.Send(3, []Call{{header, []byte("c")}, {header, []byte("d")}}, false)
		l.conn.Session().Flush()
		l.expect(t, "3.0 ends", "3.1 ends")
		if want := [][]byte{[]byte("a"), {}, []byte("b"), large, []byte("c"), []byte("d")}; !bytes.Equal(bytes.Join(got, []byte("|")), bytes.Join(want, []byte("|"))) {
			t.Errorf("got %.100q", got)
		}
	})
}
