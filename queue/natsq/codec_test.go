package natsq

import (
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
)

// What is read is what was written, and nothing that a peer sends makes a reader fail
// otherwise than with an error.
func FuzzRequest(f *testing.F) {
	for k := kindSubmit; k <= kindFindBlob; k++ {
		r := request{
			kind: k, session: 1, number: 2, finished: []uint64{1},
			tasks: []queue.Task{{ID: "t", Body: []byte("b"), Delay: time.Second, Blobs: []string{"x"}}},
			beats: []queue.Beat{{Log: [][]byte{{1}}}}, ends: []queue.Settlement{{Error: []byte("e")}},
		}
		var c codec
		r.code(&c)
		f.Add(c.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r, again request
		in := codec{bytes: b, reading: true}
		if r.code(&in); in.end() != nil {
			return
		}
		var out codec
		r.code(&out)
		in = codec{bytes: out.bytes, reading: true}
		if again.code(&in); in.end() != nil || again.kind != r.kind || len(again.tasks) != len(r.tasks) {
			t.Fatalf("%+v was read as %+v, %v", r, again, in.err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	a := answer{
		status: statusOK, known: []bool{true}, holds: held(2), deliveries: []queue.Delivery{{Past: []queue.Attempt{{Lost: true}}}},
		events: []queue.Event{{ID: "e"}}, report: &queue.Report{Stats: &queue.Stats{Workers: []queue.WorkerStats{{Name: "w"}}}},
		blob: &blob{hash: "h"},
	}
	var c codec
	a.code(&c)
	f.Add(c.bytes)
	f.Fuzz(func(t *testing.T, b []byte) {
		var a answer
		in := codec{bytes: b, reading: true}
		if a.code(&in); in.end() != nil {
			return
		}
		var out codec
		a.code(&out)
	})
}

// A log is read without a panic, whatever is in its records.
func FuzzRecord(f *testing.F) {
	var c codec
	h := header{version: recordVersion, now: 1, mark: 2}
	h.code(&c)
	c.first = 2
	e := &entry{num: 3, id: "e", state: queue.StateRunning, life: &life{log: []event{{number: 4}}}}
	for tag, fact := range map[uint8]fact{
		tagSubmitted: &submitted{num: 1, task: queue.Task{ID: "t", Retention: 1}},
		tagTaken:     &taken{worker: "w", tasks: []grant{{1, 5}}},
		tagReturned:  &returned{num: 1, token: 5, ending: queue.EndRetry},
		tagEnded:     &ended{num: 1, ending: queue.EndDead},
		tagEntry:     &entryAgain{e},
		tagEvents:    &eventsAgain{num: 3, events: e.life.log},
		tagState:     newState(newLedger()),
	} {
		t := tag
		integer(&c, &t)
		fact.code(&c)
	}
	f.Add(c.bytes)
	f.Fuzz(func(t *testing.T, b []byte) {
		l := newLedger()
		l.replay = true
		_, _ = l.read(1, b)
		_, _ = l.read(2, b)
		l.settle()
		(&spared{}).apply(l)
		l.pass(l.now + int64(time.Hour))
	})
}

// Names that differ are different tokens, and all can be part of a subject and of a file's name.
func TestToken(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"a", "A", "a.b", "a_b", "a*", "a>", "../a", `a\b`, "$JS.API", string(make([]byte, 128))} {
		got := token(name)
		if other, there := seen[got]; there {
			t.Errorf("%q and %q are both %q", name, other, got)
		}
		seen[got] = name
		if len(got) > 80 {
			t.Errorf("%q has %d bytes", got, len(got))
		}
		for _, r := range got {
			if r != '-' && r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
				t.Errorf("%q has %q", got, r)
			}
		}
	}
}
