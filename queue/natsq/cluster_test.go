package natsq_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/natsq"
)

// cluster starts three servers that know each other.
func cluster(t *testing.T) (servers []*server.Server, urls string) {
	t.Helper()
	var all []string
	var routes [3]*proxy // addresses that are known before there are servers
	for i := range routes {
		routes[i] = newProxy(t)
	}
	for i := range routes {
		o := &server.Options{ServerName: fmt.Sprint("s", i), JetStream: true, StoreDir: t.TempDir()}
		o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT}
		for k := range routes {
			if k != i {
				route, err := url.Parse(routes[k].url())
				must(t, err)
				o.Routes = append(o.Routes, route)
			}
		}
		s := start(t, o)
		routes[i].to(s.ClusterAddr().String())
		servers, all = append(servers, s), append(all, s.ClientURL())
	}
	return servers, strings.Join(all, ",")
}

// Of three servers one may die, and so may the client that keeps the queue: nothing is lost.
func TestCluster(t *testing.T) {
	servers, urls := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var brokers []*natsq.Broker
	for range 2 {
		b, err := natsq.Open(ctx, urls+"?replicas=3")
		must(t, err)
		t.Cleanup(func() { must(t, b.Close()) })
		brokers = append(brokers, b)
	}
	const n = 400
	for i := range n {
		if i == n/4 {
			servers[0].Shutdown()
		}
		b := brokers[i%len(brokers)]
		_, err := b.Submit(ctx, "q", []queue.Task{{ID: fmt.Sprint("t", i), Client: "c", Retention: time.Hour}})
		must(t, err)
		ds, err := b.Take(ctx, "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute, Wait: time.Minute})
		must(t, err)
		if len(ds) != 1 {
			t.Fatalf("after %d tasks there are %d deliveries", i, len(ds))
		}
		if i == n/2 {
			must(t, brokers[0].Close())
			brokers = brokers[1:]
			b = brokers[0]
		}
		holds, err := b.Settle(ctx, "q", []queue.Settlement{{Lease: queue.Lease{ID: ds[0].ID, Token: ds[0].Token}, Worker: "w", Ending: queue.EndDone}})
		must(t, err)
		if holds[0] != queue.Held {
			t.Fatalf("the lease of %s was lost", ds[0].ID)
		}
	}
	r, err := brokers[0].Inspect(ctx, "q", queue.Query{Stats: true})
	must(t, err)
	if r.Stats.Done != n || r.Stats.Waiting+r.Stats.Running != 0 {
		t.Errorf("of %d tasks the stats are %+v", n, *r.Stats)
	}
}

// Tasks that have gone leave nothing behind: neither in memory nor on the disk.
func TestFlat(t *testing.T) {
	dir := t.TempDir()
	b := embedded(t, natsq.Config{Dir: dir})
	const step = 150_000
	var memory []uint64
	for range 3 {
		passThrough(t, b, "q", step, 500)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		memory = append(memory, m.HeapAlloc)
	}
	if memory[2] > memory[0]+memory[0]/2+(16<<20) {
		t.Errorf("after each %d tasks the heap has %v bytes", step, memory)
	}
	size := int64(0)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	}))
	t.Logf("heap %v, disk %d MiB", memory, size>>20)
	if size > 140<<20 {
		t.Errorf("after %d tasks the disk has %d MiB", 3*step, size>>20)
	}
}
