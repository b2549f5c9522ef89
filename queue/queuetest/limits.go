package queuetest

import (
	"strings"
	"time"

	"github.com/afar-go/afar/queue"
)

var limitStories = []story{
	{"LimitsOfTasks", limitTasks},
	{"LimitsOfTake", limitTake},
	{"LimitsOfRenewAndSettle", limitLeases},
	{"LimitsOfFollowInspectAndChange", limitOthers},
	{"LimitsOfBlobs", limitBlobs},
	{"LimitsOfNames", limitNames},
}

// Bounds that the contract names.
const (
	maxTask = 256 << 10
	maxName = 128
)

// badNames are those which nothing may have.
var badNames = []string{"", " ", "a b", "a\n", "ä", "a\x7f", "a\x00", strings.Repeat("n", maxName+1)}

// refused checks that an error says what is wrong, and where.
func (s *stage) refused(what string, err error, says ...string) {
	s.Helper()
	if err == nil {
		s.Errorf("%s is not refused", what)
		return
	}
	s.namesQueue(err)
	for _, word := range says {
		if !strings.Contains(err.Error(), word) {
			s.Errorf("%s is refused with %q, which does not say %q", what, err, word)
		}
	}
}

func limitTasks(s *stage) {
	for what, change := range map[string]func(*queue.Task){
		"a label of 257 bytes":         func(t *queue.Task) { t.Label = strings.Repeat("l", 257) },
		"a body of more than 256 KiB":  func(t *queue.Task) { t.Body = make([]byte, maxTask+1) },
		"a body that is too large":     func(t *queue.Task) { t.Body = make([]byte, maxTask) },
		"a priority that is too high":  func(t *queue.Task) { t.Priority = queue.High + 1 },
		"a priority that is too low":   func(t *queue.Task) { t.Priority = queue.Low - 1 },
		"a group with a space":         func(t *queue.Task) { t.Group = "a b" },
		"a group of 129 bytes":         func(t *queue.Task) { t.Group = badNames[len(badNames)-1] },
		"a client with a space":        func(t *queue.Task) { t.Client = "a b" },
		"a negative delay":             func(t *queue.Task) { t.Delay = -1 },
		"a negative retention":         func(t *queue.Task) { t.Retention = -1 },
		"a blob that is no hash":       func(t *queue.Task) { t.Blobs = []string{"abc"} },
		"a blob with capital letters":  func(t *queue.Task) { t.Blobs = []string{strings.ToUpper(hashOf(nil))} },
		"a blob that leads elsewhere":  func(t *queue.Task) { t.Blobs = []string{"../" + hashOf(nil)[3:]} },
		"an ID that is no ID":          func(t *queue.Task) { t.ID = "a b" },
		"a task with very many hashes": func(t *queue.Task) { t.Blobs = make([]string, 5000) },
	} {
		bad := task("bad")
		change(&bad)
		_, err := s.a.Submit(s.ctx, s.queue, []queue.Task{bad})
		s.refused(what, err)
	}
	for _, id := range badNames {
		_, err := s.a.Submit(s.ctx, s.queue, []queue.Task{task(id)})
		s.refused("an ID "+id, err)
	}
	largest := task(strings.Repeat("~", maxName))
	largest.Label, largest.Group, largest.Client = strings.Repeat("l", 256), strings.Repeat("!", maxName), strings.Repeat("c", maxName)
	largest.Body = make([]byte, maxTask-3*maxName-256)
	s.submit(largest)
	s.finish(queue.EndDone, s.takeOne(largest.ID))
	s.told(largest.Client, 1)
}

func limitTake(s *stage) {
	s.submit(task("t"))
	for what, change := range map[string]func(*queue.TakeRequest){
		"a Take of nothing":       func(r *queue.TakeRequest) { r.Max = 0 },
		"a Take of less":          func(r *queue.TakeRequest) { r.Max = -1 },
		"a short lease":           func(r *queue.TakeRequest) { r.Lease = 99 * time.Millisecond },
		"no lease":                func(r *queue.TakeRequest) { r.Lease = 0 },
		"a negative wait":         func(r *queue.TakeRequest) { r.Wait = -1 },
		"a worker without a name": func(r *queue.TakeRequest) { r.Worker = "" },
		"a worker with a space":   func(r *queue.TakeRequest) { r.Worker = "w 1" },
	} {
		r := request(1)
		change(&r)
		_, err := s.b.Take(s.ctx, s.queue, r)
		s.refused(what, err)
	}
	r := request(1)
	r.Lease = 5 * time.Millisecond
	_, err := s.b.Take(s.ctx, s.queue, r)
	s.refused("a lease of 5 ms", err, "lease", "5ms", "100ms")
	s.takeOne("t")
}

func limitLeases(s *stage) {
	s.submit(task("t"))
	d := s.takeOne("t")
	for what, change := range map[string]func(*queue.Beat){
		"a short beat":       func(b *queue.Beat) { b.For = 99 * time.Millisecond },
		"a beat for nothing": func(b *queue.Beat) { b.ID = "" },
	} {
		b := queue.Beat{Lease: lease(d), For: long}
		change(&b)
		_, err := s.b.Renew(s.ctx, s.queue, "w2", []queue.Beat{b})
		s.refused(what, err)
	}
	_, err := s.b.Renew(s.ctx, s.queue, "", nil)
	s.refused("a worker without a name", err)
	for what, change := range map[string]func(*queue.Settlement){
		"no ending":                     func(e *queue.Settlement) { e.Ending = 0 },
		"an ending that does not exist": func(e *queue.Settlement) { e.Ending = queue.EndRelease + 1 },
		"a large outcome":               func(e *queue.Settlement) { e.Outcome = make([]byte, maxTask+1) },
		"a large error":                 func(e *queue.Settlement) { e.Error = make([]byte, maxTask+1) },
		"a negative delay":              func(e *queue.Settlement) { e.Ending, e.Delay = queue.EndRetry, -1 },
		"a worker without a name":       func(e *queue.Settlement) { e.Worker = "" },
		"a task without an ID":          func(e *queue.Settlement) { e.ID = "" },
		"a blob that is no hash":        func(e *queue.Settlement) { e.Blobs = []string{"abc"} },
	} {
		e := ending(d, queue.EndDone)
		change(&e)
		_, err := s.b.Settle(s.ctx, s.queue, []queue.Settlement{e})
		s.refused(what, err)
	}
	s.renew(queue.Held, queue.Beat{Lease: lease(d), For: long})
	end := ending(d, queue.EndDone)
	end.Outcome = make([]byte, maxTask)
	s.settle(queue.Held, end)
	if got := s.end("t"); len(got.Data) != maxTask {
		s.Errorf("an outcome of %d bytes came as one of %d", maxTask, len(got.Data))
	}
}

func limitOthers(s *stage) {
	_, _, err := s.a.Follow(s.ctx, s.queue, queue.Topic{Task: "t", Client: "c"}, "", 0)
	s.refused("a topic of two", err)
	_, _, err = s.a.Follow(s.ctx, s.queue, queue.Topic{Client: "c c"}, "", 0)
	s.refused("a client with a space", err)
	_, _, err = s.a.Follow(s.ctx, s.queue, queue.Topic{Client: "c"}, "", -1)
	s.refused("a negative wait", err)
	_, _, err = s.a.Follow(s.ctx, s.queue, queue.Topic{Client: "c"}, "no cursor at all", 0)
	s.refused("a cursor that is none", err)
	for what, q := range map[string]queue.Query{
		"a negative limit": {State: queue.StateDone, Limit: -1}, "a state that does not exist": {State: queue.StateCanceled + 1},
		"an ID with a space": {IDs: []string{"a b"}},
	} {
		_, err := s.a.Inspect(s.ctx, s.queue, q)
		s.refused(what, err)
	}
	for what, c := range map[string]queue.Change{
		"no verb": {}, "a verb that does not exist": {Verb: queue.Leave + 1}, "a worker without a name": {Verb: queue.Leave},
		"an ID with a space": {Verb: queue.Cancel, IDs: []string{"a b"}},
		"a large outcome":    {Verb: queue.Cancel, IDs: []string{"a"}, Outcome: make([]byte, maxTask+1)},
	} {
		_, err := s.a.Change(s.ctx, s.queue, c)
		s.refused(what, err)
	}
}

func limitBlobs(s *stage) {
	blobs := s.a.Blobs(s.queue)
	for _, hash := range []string{"", "abc", strings.ToUpper(hashOf(nil)), "../../" + hashOf(nil)[6:], hashOf(nil) + "0"} {
		s.refused("Put by a wrong hash", blobs.Put(s.ctx, hash, 0, strings.NewReader(""), long))
		_, err := blobs.Get(s.ctx, hash)
		s.refused("Get by a wrong hash", err)
		_, err = blobs.Keep(s.ctx, hash, long)
		s.refused("Keep by a wrong hash", err)
	}
	s.refused("a negative size", blobs.Put(s.ctx, hashOf(nil), -1, strings.NewReader(""), long))
	s.refused("a negative keeping", blobs.Put(s.ctx, hashOf(nil), 0, strings.NewReader(""), -1))
}

func limitNames(s *stage) {
	for _, name := range badNames {
		_, submit := s.a.Submit(s.ctx, name, []queue.Task{task("t")})
		_, take := s.a.Take(s.ctx, name, request(1))
		_, renew := s.a.Renew(s.ctx, name, "w", nil)
		_, settle := s.a.Settle(s.ctx, name, nil)
		_, _, follow := s.a.Follow(s.ctx, name, queue.Topic{}, "", 0)
		_, inspect := s.a.Inspect(s.ctx, name, queue.Query{Stats: true})
		_, change := s.a.Change(s.ctx, name, queue.Change{Verb: queue.Pause})
		_, blobs := s.a.Blobs(name).Keep(s.ctx, hashOf(nil), 0)
		for i, err := range []error{submit, take, renew, settle, follow, inspect, change, blobs} {
			if err == nil {
				s.Errorf("method %d of queue %q is not refused", i, name)
			}
		}
	}
	s.queue = queueName("Odd") + `.*>:{}[]%/\"'~!`
	s.submit(task(`.*>:{}[]%/\"'~!`))
	s.finish(queue.EndDone, s.takeOne(`.*>:{}[]%/\"'~!`))
	s.state(`.*>:{}[]%/\"'~!`, queue.StateDone)
	if got := s.inspect(queue.Query{Queues: true}).Queues; len(got) == 0 {
		s.Error("there are no queues")
	}
	long := s.queue + strings.Repeat("x", maxName-len(s.queue))
	s.queue = long
	s.submit(task("t"))
	s.takeOne("t")
}
