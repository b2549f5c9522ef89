package redisq_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/redisq"
)

// goThrough has a task go through all there is.
func goThrough(t *testing.T, b *redisq.Broker, queueName string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := b.Submit(ctx, queueName, []queue.Task{{ID: "t", Client: "c"}}); err != nil {
		t.Fatal(err)
	}
	ds, err := b.Take(ctx, queueName, queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute, Wait: time.Minute})
	if err != nil || len(ds) != 1 {
		t.Fatalf("Take gives %v, %v", ds, err)
	}
	end := queue.Settlement{Lease: queue.Lease{ID: "t", Token: ds[0].Token}, Worker: "w", Ending: queue.EndDone, Outcome: []byte("well")}
	if holds, err := b.Settle(ctx, queueName, []queue.Settlement{end}); err != nil || holds[0] != queue.Held {
		t.Fatalf("Settle gives %v, %v", holds, err)
	}
	events, _, err := b.Follow(ctx, queueName, queue.Topic{Client: "c"}, "", time.Minute)
	if err != nil || len(events) != 1 || string(events[0].Data) != "well" {
		t.Fatalf("Follow gives %+v, %v", events, err)
	}
}

// freePorts returns ports that nobody listens to, for servers that cannot be asked which they got. Another
// program may take one before the server does, so callers try again.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	ports := make([]string, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		ports[i] = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.make("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// make writes NAME.crt and NAME.key.
func (a *authority) make(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".crt", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", secret)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(a.file(name), text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	a.make("server", &x509.Certificate{DNSNames: []string{"redis.test"}, KeyUsage: x509.KeyUsageDigitalSignature})
	a.make("client", &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature})
	_, ports := startServerAt(t, 1, func(ports []string) []string {
		return []string{"--bind", "127.0.0.1", "--tls-port", ports[0], "--tls-cert-file", a.file("server.crt"),
			"--tls-key-file", a.file("server.key"), "--tls-ca-cert-file", a.file("ca.crt"), "--tls-auth-clients", "yes"}
	})
	port := ports[0]
	base := "rediss://u:secret@127.0.0.1:" + port
	own := "cert=" + a.file("client.crt") + "&key=" + a.file("client.key")
	for query, says := range map[string]string{
		"?ca=" + a.file("ca.crt") + "&" + own:                            "127.0.0.1",
		"?server_name=redis.test&" + own:                                 "authority",
		"?ca=" + a.file("client.crt") + "&server_name=redis.test&" + own: "authority",
		"?ca=" + a.file("client.key") + "&server_name=redis.test&" + own: "no certificate",
		"?ca=" + a.file("ca.crt") + "&server_name=redis.test":            "",
		"?ca=" + a.file("ca.crt") + "&server_name=other.test&" + own:     "other.test",
	} {
		_, err := redisq.Open(t.Context(), base+query)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Open with %s gives %v", query, err)
		}
	}
	good := "rediss://127.0.0.1:" + port
	goThrough(t, open(t, good+"?ca="+a.file("ca.crt")+"&server_name=redis.test&"+own), "named")
	goThrough(t, open(t, good+"?skip_verify=true&"+own), "unchecked")
}

// TestCluster uses three servers that share the keys, and then moves a queue from one to another.
func TestCluster(t *testing.T) {
	nodes, ports := startCluster(t, 3)
	if _, err := redisq.Open(t.Context(), "redis://127.0.0.1:"+ports[0]); err == nil || !strings.Contains(err.Error(), "cluster=true") {
		t.Errorf("Open without saying that it is a cluster gives %v", err)
	}
	b := open(t, "redis://127.0.0.1:"+ports[0]+"?addr=127.0.0.1:"+ports[1]+"&cluster=true")
	for i := range 20 {
		goThrough(t, b, fmt.Sprintf("queue{%d}%%", i))
	}
	report, err := b.Inspect(t.Context(), "q", queue.Query{Queues: true})
	if err != nil || len(report.Queues) != 20 {
		t.Errorf("Inspect gives %v, %v", report, err)
	}
	used := 0
	for _, n := range nodes {
		if n.must("DBSIZE") != ":0" {
			used++
		}
	}
	if used != 3 {
		t.Errorf("20 queues are on %d of 3 nodes", used)
	}
	lone := startServer(t)
	p := startProxy(t, lone.socket)
	if _, err := redisq.Open(t.Context(), "redis://"+p.address()+"?cluster=true"); err == nil || !strings.Contains(err.Error(), "cluster") {
		t.Errorf("Open of a server without cluster gives %v", err)
	}
}

// startCluster starts servers that share the keys.
func startCluster(t *testing.T, n int) ([]*server, []string) {
	t.Helper()
	nodes, ports := make([]*server, n), make([]string, n)
	for i := range nodes {
		node, own := startServerAt(t, 2, func(ports []string) []string {
			return []string{"--port", ports[0], "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", ports[1],
				"--cluster-node-timeout", "2000"}
		})
		node.must("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*16384/n), strconv.Itoa((i+1)*16384/n-1))
		nodes[i], ports[i] = node, own[0]
		nodes[0].must("CLUSTER", "MEET", "127.0.0.1", own[0], own[1])
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		ready := 0
		for _, node := range nodes {
			if strings.Contains(node.text("CLUSTER INFO"), "cluster_state:ok") && strings.Contains(node.text("CLUSTER INFO"), "cluster_known_nodes:"+strconv.Itoa(n)) {
				ready++
			}
		}
		if ready == n {
			return nodes, ports
		}
		if time.Now().After(deadline) {
			t.Fatalf("the cluster does not come to be:\n%s", nodes[0].text("CLUSTER INFO"))
		}
	}
}

// TestSentinel follows the sentinels to another server when the first has gone.
func TestSentinel(t *testing.T) {
	local := func(ports []string) []string { return []string{"--port", ports[0], "--bind", "127.0.0.1"} }
	first, at := startServerAt(t, 1, local)
	second, _ := startServerAt(t, 1, func(ports []string) []string {
		return append(local(ports), "--replicaof", "127.0.0.1 "+at[0])
	})
	sentinel, ports := startServerAt(t, 1, func(ports []string) []string {
		config := filepath.Join(t.TempDir(), "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor main 127.0.0.1 %s 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n", at[0])
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return append([]string{config, "--sentinel"}, local(ports)...)
	})
	awaitText(t, second, "INFO replication", "master_link_status:up")
	awaitText(t, sentinel, "INFO sentinel", "status=ok")
	awaitText(t, sentinel, "INFO sentinel", "slaves=1")
	if _, err := redisq.Open(t.Context(), "redis://127.0.0.1:"+ports[0]); err == nil || !strings.Contains(err.Error(), "master_set") {
		t.Errorf("Open of a sentinel as a server gives %v", err)
	}
	b := open(t, "redis://127.0.0.1:"+ports[0]+"?master_set=main")
	goThrough(t, b, "before")
	first.stop(9)
	goThrough(t, b, "after")
	if n := second.must("DBSIZE"); n == ":0" {
		t.Error("nothing is in the second server")
	}
}
