package wire_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/afar-go/afar/internal/wire"
)

// specStreams are what SPEC.md shows of what travels on streams.
func specStreams() map[string][]byte {
	plain := &wire.Info{Attempt: 1}
	call := &wire.Request{ID: 9, Info: &wire.Info{Function: 5, Attempt: 1}}
	set := &wire.Request{ID: 10, Op: wire.OpSet, Info: plain, Member: "N"}
	cancel := &wire.Request{ID: 9, Op: wire.OpCancel}
	reply := &wire.Reply{ID: 10, Status: wire.StatusLogged | wire.StatusTyped, Logged: 2, Type: "int"}
	return map[string][]byte{
		"purpose-routine": wire.AppendPurpose(nil, wire.PurposeRoutine, &wire.Info{Function: 3, Attempt: 1}),
		"ending-done":     (&wire.Ending{Logged: 2, Taken: 7}).Append(nil),
		"ending-closed":   (&wire.Ending{Code: wire.EndClosed, Fault: specFault()}).Append(nil),
		"handle":          (&wire.Handle{Path: []string{"r", "w"}, Token: "t", Type: "Obj[T]", Label: "l", Limit: 1024}).Append(nil),
		"request-call":    append(call.AppendHead(nil), 3),
		"request-set":     append(set.AppendHead(nil), 0x18, 0x2a),
		"request-cancel":  append(cancel.AppendHead(nil), specFault()...),
		"launch":          append([]byte{wire.PurposeStart}, specLaunch().Append(nil)...),
		"exit":            specExit().Append(nil),
		"status":          specStatus().Append(nil),
		"reply":           append(reply.AppendHead(nil), 0x18, 0x2a),
	}
}

func specLaunch() *wire.Launch {
	return &wire.Launch{ID: "w-1", Dir: "/d", Env: []string{"A=b"}, Nice: 5, Share: 4}
}

func specExit() *wire.Exit {
	return &wire.Exit{Code: -1, Signal: "killed", OutOfMemory: true, Stderr: "x"}
}

func specStatus() *wire.Status {
	return &wire.Status{Draining: true, Program: "n", Workers: 5, Own: 2, LoadMilli: []int{1500, 0, 7}, Limits: []string{"x"}}
}

// What travels on streams arrives as it was.
func TestStreamRoundTrips(t *testing.T) {
	shown := specStreams()
	info := &wire.Info{Function: 5, Attempt: 1, Header: map[string]string{"k": "v"}, LogLevel: -4}
	got, err := wire.ParseInfo(wire.NewReader(wire.AppendPurpose(nil, wire.PurposeObject, info)[1:]))
	if err != nil || !reflect.DeepEqual(got, info) {
		t.Errorf("info became %+v, %v", got, err)
	}
	end, err := wire.ParseEnding(shown["ending-closed"])
	if want := (&wire.Ending{Code: wire.EndClosed, Fault: specFault()}); err != nil || !reflect.DeepEqual(end, want) {
		t.Errorf("ending became %+v, %v", end, err)
	}
	h, err := wire.ParseHandle(wire.NewReader(shown["handle"]))
	if want := (&wire.Handle{Path: []string{"r", "w"}, Token: "t", Type: "Obj[T]", Label: "l", Limit: 1024}); err != nil || !reflect.DeepEqual(h, want) {
		t.Errorf("handle became %+v, %v", h, err)
	}
	q, err := wire.ParseRequest(shown["request-set"])
	want := &wire.Request{ID: 10, Op: wire.OpSet, Info: &wire.Info{Attempt: 1}, Member: "N", Input: []byte{0x18, 0x2a}}
	if err != nil || !reflect.DeepEqual(q, want) {
		t.Errorf("request became %+v, %v", q, err)
	}
	q, err = wire.ParseRequest(shown["request-cancel"])
	if want := (&wire.Request{ID: 9, Op: wire.OpCancel, Input: specFault()}); err != nil || !reflect.DeepEqual(q, want) {
		t.Errorf("cancel became %+v, %v", q, err)
	}
	p, err := wire.ParseReply(shown["reply"])
	if want := (wire.Reply{ID: 10, Status: wire.StatusLogged | wire.StatusTyped, Logged: 2, Type: "int", Payload: []byte{0x18, 0x2a}}); err != nil || !reflect.DeepEqual(p, want) {
		t.Errorf("reply became %+v, %v", p, err)
	}
	l, err := wire.ParseLaunch(wire.NewReader(shown["launch"][1:]))
	if err != nil || !reflect.DeepEqual(l, specLaunch()) {
		t.Errorf("launch became %+v, %v", l, err)
	}
	exit, err := wire.ParseExit(shown["exit"])
	if err != nil || !reflect.DeepEqual(exit, specExit()) {
		t.Errorf("exit became %+v, %v", exit, err)
	}
	status, err := wire.ParseStatus(shown["status"])
	if err != nil || !reflect.DeepEqual(status, specStatus()) {
		t.Errorf("status became %+v, %v", status, err)
	}
	args := [][]byte{{1}, {}, {2, 3}}
	if got, err := wire.ParseArguments(wire.AppendArguments(nil, args)); err != nil || !reflect.DeepEqual(got, args) {
		t.Errorf("arguments became %v, %v", got, err)
	}
}

// decoders of what travels on streams, as they are used.
var decoders = map[string]func([]byte) error{
	"info":      func(b []byte) error { _, err := wire.ParseInfo(wire.NewReader(b)); return err },
	"ending":    func(b []byte) error { _, err := wire.ParseEnding(b); return err },
	"handle":    func(b []byte) error { _, err := wire.ParseHandle(wire.NewReader(b)); return err },
	"request":   func(b []byte) error { _, err := wire.ParseRequest(b); return err },
	"reply":     func(b []byte) error { _, err := wire.ParseReply(b); return err },
	"launch":    func(b []byte) error { _, err := wire.ParseLaunch(wire.NewReader(b)); return err },
	"exit":      func(b []byte) error { _, err := wire.ParseExit(b); return err },
	"status":    func(b []byte) error { _, err := wire.ParseStatus(b); return err },
	"arguments": func(b []byte) error { _, err := wire.ParseArguments(b); return err },
}

// Bytes that break the protocol are malformed, whatever they are.
func TestStreamMalformed(t *testing.T) {
	for name, bad := range map[string][]struct {
		what string
		data []byte
	}{
		"info":      {{"empty", nil}, {"bytes behind", []byte{0, 0, 1, 0, 9}}},
		"ending":    {{"empty", nil}, {"code", []byte{3, 0, 0}}, {"bytes behind done", []byte{0, 0, 0, 1}}, {"short", []byte{1, 0}}},
		"handle":    {{"empty", nil}, {"no home", []byte{0, 0, 0, 0, 0, 0}}, {"path longer than the bytes", []byte{9, 1}}, {"bytes behind", []byte{1, 0, 0, 0, 0, 0, 0, 7}}},
		"request":   {{"empty", nil}, {"operation", []byte{1, 5}}, {"no info", []byte{1, 0}}, {"no member", []byte{1, 2, 0, 0, 1, 0}}},
		"reply":     {{"empty", nil}, {"flag", []byte{1, 2}}, {"no logged", []byte{1, 4}}, {"no type", []byte{1, 8}}},
		"launch":    {{"empty", nil}, {"more arguments than bytes", []byte{0, 0, 0, 9, 0, 0, 0}}, {"bytes behind", []byte{0, 0, 0, 0, 0, 0, 0, 7}}},
		"exit":      {{"empty", nil}, {"flag", []byte{2, 0, 0, 0, 0}}, {"bytes behind", []byte{0, 0, 0, 0, 0, 7}}},
		"status":    {{"empty", nil}, {"flag", []byte{2, 0, 0, 0, 0, 0}}, {"more averages than bytes", []byte{0, 0, 0, 0, 9}}, {"bytes behind", []byte{0, 0, 0, 0, 0, 0, 7}}},
		"arguments": {{"empty", nil}, {"count", []byte{9, 0}}, {"bytes behind", []byte{0, 0}}},
	} {
		for _, b := range bad {
			if err := decoders[name](b.data); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("%s, %s: %v", name, b.what, err)
			}
		}
	}
}

func FuzzStreams(f *testing.F) {
	for _, data := range specStreams() {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, decode := range decoders {
			if err := decode(data); err != nil && !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}
