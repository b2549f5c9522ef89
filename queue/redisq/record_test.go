package redisq

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
)

func TestRecord(t *testing.T) {
	task := queue.Task{ID: "t", Label: "a\nlabel", Body: []byte("a\nbody"), Priority: queue.Low, Group: "g", Client: "c",
		Retention: time.Minute, Blobs: []string{strings.Repeat("a", 64), strings.Repeat("b", 64)}}
	var r record
	for _, first := range []string{"w", "r 17 16 2 15 -lp =worker"} {
		text := first + "\n" + "1795201044293164" + string(appendRecord(nil, &task))
		for range 2 {
			if err := r.parse(text); err != nil {
				t.Fatal(err)
			}
			if got := r.task("t"); !reflect.DeepEqual(got, task) {
				t.Errorf("the task is %+v, not %+v", got, task)
			}
		}
	}
	if r.state != 'r' || r.token != 17 || r.born != 16 || r.attempt != 2 || r.started != 15 || r.flags != "-lp" || r.worker != "worker" {
		t.Errorf("its life is %+v", r.life)
	}
}

func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]int64{0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, 1<<63 - 1: 9223372036854} {
		if got := millis(d); got < want {
			t.Errorf("%d ns are %d ms, not %d", d, got, want)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("w\n1795201044293164 60000 1 5 0 =c =g\nlabelbody")
	f.Add("r 17 0 1 15 - =w\n1795201044293164 0 2 0 1 = =\n" + strings.Repeat("a", 64))
	f.Add("4179 1 2 3 4 1 5 1 2 =w =g -\nlaoutcome")
	f.Add("1795201044293 1 worker\nerror")
	f.Add("41 worker")
	f.Fuzz(func(t *testing.T, text string) {
		var r record
		if r.parse(text) == nil {
			if got := r.task("t"); len(got.Label)+len(got.Body)+len(got.Blobs)*hashSize > len(text) {
				t.Errorf("%q has %+v", text, got)
			}
		}
		if e, err := parseEnding(text); err == nil && !e.state.Ended() {
			t.Errorf("%q ends in state %d", text, e.state)
		}
		_, _ = parseAttempt(text)
		_, _ = parseHead(text)
		_ = checkCursor(queue.Cursor(text))
		_, _ = parsePlace(text)
	})
}
