package natsq_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/natsq"
)

// refused checks that an error says what it is about, and nothing that is secret.
func refused(t *testing.T, b *natsq.Broker, err error, want string) {
	t.Helper()
	if err == nil {
		_ = b.Close()
		t.Fatalf("it is not refused, and ought to say %q", want)
	}
	if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error is %q, and ought to say %q", err, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"nats://u:secret@127.0.0.1:1?replica=3":  `unknown parameter "replica"`,
		"nats://u:secret@127.0.0.1:1?replicas=x": "replicas",
		"nats://u:secret@127.0.0.1:1?replicas=9": "replicas",
		"nats://u:secret@127.0.0.1:1?prefix=a.b": "prefix",
		"redis://u:secret@127.0.0.1:1":           `"redis"`,
		"nats://u:secret@%zz":                    "URL",
		"nats://u:secret@127.0.0.1:1?%zz":        "parameters",
		"nowhere":                                "URL",
		"nats://u:secret@127.0.0.1:1":            "nats://127.0.0.1:1: ",
	} {
		b, err := natsq.Open(t.Context(), url)
		refused(t, b, err, want)
	}
}

// start starts a server as others do.
func start(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoSigs, o.NoLog = "127.0.0.1", true, true
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(o)
	must(t, err)
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

func TestOpenOfAServerThatDoesNotSuit(t *testing.T) {
	b, err := natsq.Open(t.Context(), start(t, &server.Options{}).ClientURL())
	refused(t, b, err, "JetStream")
	b, err = natsq.Open(t.Context(), start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), MaxPayload: 1000}).ClientURL())
	refused(t, b, err, "max_payload")
}

func TestEmbeddedRefuses(t *testing.T) {
	dir := t.TempDir()
	embedded(t, natsq.Config{Dir: dir})
	b, err := natsq.Embedded(t.Context(), dir)
	refused(t, b, err, "another embedded server")
	for want, c := range map[string]natsq.Config{
		"directory": {},
		"replicas":  {Dir: t.TempDir(), Replicas: 3},
		"listening": {Dir: t.TempDir(), Listen: "nowhere"},
		"port":      {Dir: t.TempDir(), Listen: "localhost:http"},
		"prefix":    {Dir: t.TempDir(), Prefix: "a b"},
	} {
		b, err := c.Embedded(t.Context())
		refused(t, b, err, want)
	}
}

// What is stored is there when the directory is used again.
func TestEmbeddedAgain(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		b, err := natsq.Embedded(t.Context(), dir)
		must(t, err)
		if b.URL() != "" {
			t.Errorf("a server that does not listen is at %q", b.URL())
		}
		r, err := b.Inspect(t.Context(), "q.with >odd* name", queue.Query{Stats: true, Queues: true})
		if err == nil {
			t.Errorf("a queue with such a name is there: %+v", r)
		}
		name := "q.with>odd*/name"
		_, err = b.Submit(t.Context(), name, []queue.Task{{ID: fmt.Sprint("t", i)}})
		must(t, err)
		r, err = b.Inspect(t.Context(), name, queue.Query{Stats: true, Queues: true})
		must(t, err)
		if r.Stats.Waiting != int64(i+1) || len(r.Queues) != 1 || r.Queues[0] != name {
			t.Errorf("the %dth time there are %+v in %q", i+1, r.Stats, r.Queues)
		}
		must(t, b.Close())
		must(t, b.Close())
		if _, err := b.Submit(t.Context(), name, nil); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("after Close Submit gives %v", err)
		}
	}
}

// Whoever waits when a Broker is closed is told so.
func TestCloseEndsWaits(t *testing.T) {
	far := embedded(t, natsq.Config{Listen: "127.0.0.1:0", User: "u", Password: "secret"})
	if strings.Contains(far.URL(), "secret") {
		t.Errorf("the URL is %q", far.URL())
	}
	b, err := natsq.Open(t.Context(), far.URL())
	refused(t, b, err, "uthorization")
	b, err = natsq.Config{User: "u", Password: "secret"}.Open(t.Context(), far.URL())
	must(t, err)
	for _, broker := range []*natsq.Broker{b, far} {
		results := make(chan error, 2)
		go func() {
			_, err := broker.Take(context.Background(), "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Second, Wait: time.Hour})
			results <- err
		}()
		go func() {
			_, _, err := broker.Follow(context.Background(), "q", queue.Topic{Client: "c"}, "", time.Hour)
			results <- err
		}()
		must(t, broker.Close())
		for range 2 {
			if err := <-results; !errors.Is(err, queue.ErrClosed) {
				t.Errorf("who waits gets %v", err)
			}
		}
	}
}

// damage does something to the files of a store that have a name.
func damage(t *testing.T, dir, name string, do func(path string, b []byte) []byte) {
	t.Helper()
	n := 0
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, name) {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		return os.WriteFile(path, do(path, b), 0o600)
	}))
	if n == 0 {
		t.Fatalf("no %s in %s", name, dir)
	}
}

// A store that is damaged is refused with an error that says so, and is not taken for an empty one.
func TestEmbeddedDamaged(t *testing.T) {
	for name, do := range map[string]func(path string, b []byte) []byte{
		"meta.inf": func(_ string, b []byte) []byte { return b[:len(b)/2] },
		"1.blk": func(_ string, b []byte) []byte {
			i := bytes.Index(b, []byte("in the middle"))
			b[i] ^= 1
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b, err := natsq.Embedded(t.Context(), dir)
			must(t, err)
			for _, id := range []string{"first", "second", "third"} {
				_, err = b.Submit(t.Context(), "q", []queue.Task{{ID: id, Body: []byte("in the middle")}})
				must(t, err)
			}
			must(t, b.Close())
			damage(t, dir, name, do)
			damage(t, dir, "index.db", func(_ string, b []byte) []byte { return nil })
			b, err = natsq.Embedded(t.Context(), dir)
			refused(t, b, err, "damaged")
		})
	}
}

// A log is told what happens, and nothing is written elsewhere.
func TestLog(t *testing.T) {
	var said bytes.Buffer
	b, err := natsq.Config{Dir: t.TempDir(), Log: slog.NewTextHandler(&said, nil)}.Embedded(t.Context())
	must(t, err)
	must(t, b.Close())
	if !strings.Contains(said.String(), "JetStream") {
		t.Errorf("the log is %q", said.String())
	}
}

// A server that listens with TLS is joined by who trusts its certificate.
func TestTLS(t *testing.T) {
	web := httptest.NewUnstartedServer(nil) // which has a certificate for 127.0.0.1
	web.StartTLS()
	defer web.Close()
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	far := embedded(t, natsq.Config{Listen: "127.0.0.1:0", TLS: &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS13}})
	b, err := natsq.Config{TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}.Open(t.Context(), far.URL())
	must(t, err)
	defer func() { must(t, b.Close()) }()
	_, err = b.Submit(t.Context(), "q", []queue.Task{{ID: "t"}})
	must(t, err)
	other, err := natsq.Open(t.Context(), far.URL())
	refused(t, other, err, "certificate")
}
