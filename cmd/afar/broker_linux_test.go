package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/afar-go/afar/trust"
)

// stop ends a broker as its host does.
func (o *other) stop() said {
	o.t.Helper()
	must(o.t, o.cmd.Process.Signal(syscall.SIGTERM))
	return o.end()
}

// A broker that was stopped goes on with what it had, and logs what it does.
func TestBrokerStops(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "broker")
	b := start(t, nil, "broker", "-json", "-listen", "127.0.0.1:0", "-dir", dir, "-sync-always")
	s := onStage(t, b.line())
	s.types(exitOK, "submit -id a -- true")
	if end := b.stop(); end.code != exitOK || end.out != "" {
		t.Errorf("it has ended with %+v", end)
	} else {
		contains(t, end.errs, `"msg":"listening","url":"nats://127.0.0.1:`, `"sync_always":true`, `"msg":"draining"`, `"msg":"closed"`)
	}
	s.types(exitUnreachable, "result a")
	b = start(t, nil, "broker", "-listen", "127.0.0.1:0", "-dir", dir)
	next := onStage(t, b.line())
	contains(t, next.types(exitPending, "result a").out, "waiting")
	twice := start(t, nil, "broker", "-listen", "127.0.0.1:0", "-dir", dir).end()
	if twice.code != exitFailed || !strings.Contains(twice.errs, dir) {
		t.Errorf("two brokers in one directory: %+v", twice)
	}
	if end := b.stop(); end.code != exitOK {
		t.Errorf("it has ended with %+v", end)
	}
}

// A broker that others reach asks who they are, and keeps what is said secret.
func TestBrokerTLS(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	cert, key := ca.sign(t, "broker")
	password := filepath.Join(dir, "password")
	must(t, os.WriteFile(password, []byte("s3cret\n"), 0o600))
	b := start(t, nil, "broker", "-listen", "127.0.0.1:0", "-dir", filepath.Join(dir, "broker"), "-user", "fleet", "-password-file", password,
		"-tls-cert", cert, "-tls-key", key, "-tls-ca", ca.file)
	url := b.line()
	home(t)
	cert, key = ca.sign(t, "caller")
	_, address, ok := strings.Cut(url, "tls://")
	if !ok {
		t.Fatalf("it says %s", url)
	}
	mine := "?ca=" + ca.file + "&cert=" + cert + "&key=" + key
	for _, c := range []struct {
		url  string
		code int
	}{
		{"tls://fleet:s3cret@" + address + mine, exitOK},
		{"nats://fleet:s3cret@" + address + mine, exitOK},
		{"tls://fleet:s3cret-no@" + address + mine, exitUnreachable},
		{"tls://" + address + mine, exitUnreachable},
		{"tls://fleet:s3cret@" + address + "?ca=" + ca.file, exitUnreachable}, // no certificate
		{"tls://fleet:s3cret@" + address + "?cert=" + cert + "&key=" + key, exitUnreachable},
	} {
		got := typed("", "queue", "ls", "--within", "5s", c.url)
		if got.code != c.code || strings.Contains(got.errs, "s3cret") {
			t.Errorf("%s: exit code %d, want %d: %s", c.url, got.code, c.code, got.errs)
		}
	}
	if end := b.stop(); end.code != exitOK || strings.Contains(end.errs, "s3cret") {
		t.Errorf("it has ended with %+v", end)
	}
}

// A broker with a key lets in those whose keys it knows, and is known by its own.
func TestBrokerKeys(t *testing.T) {
	dir := home(t)
	brokerKey := filepath.Join(dir, "broker.key")
	contains(t, typed("", "broker", "-keys", "-key", brokerKey, "-dir", filepath.Join(dir, "broker")).errs, "afar key new --key "+brokerKey)
	for _, line := range [][]string{{"key", "new"}, {"key", "new", "--key", brokerKey}, {"key", "authorize", filepath.Join(dir, "key.pub")}} {
		if s := typed("", line...); s.code != 0 {
			t.Fatal(s.errs)
		}
	}
	b := start(t, nil, "broker", "-listen", "127.0.0.1:0", "-dir", filepath.Join(dir, "broker"), "-keys", "-key", brokerKey)
	url := b.line()
	contains(t, url, "tls://127.0.0.1:", "?pin=")
	if s := typed("", "queue", "submit", url+"#a", "--", "true"); s.code != exitOK {
		t.Errorf("it does not let in who may come: %+v", s)
	}
	address, _, _ := strings.Cut(url, "?")
	other, err := trust.NewKey("")
	must(t, err)
	for _, wrong := range []string{address, address + "?pin=" + pinOf(other.Public()), address + "?pin=x", url + "&ca=/nowhere"} {
		if s := typed("", "queue", "ls", "-within", "5s", wrong); s.code == exitOK {
			t.Errorf("%s: %+v", wrong, s)
		}
	}
	if s := typed("", "key", "revoke", filepath.Join(dir, "key.pub")); s.code != exitOK {
		t.Fatal(s.errs)
	}
	if s := typed("", "queue", "ls", url); s.code != exitUnreachable {
		t.Errorf("it lets in who is revoked: %+v", s)
	}
	if end := b.stop(); end.code != exitOK {
		t.Errorf("it has ended with %+v", end)
	}
}

// Mistakes are told before anything listens.
func TestBrokerUsage(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"--help", exitOK, "SIGTERM"},
		{"", exitUsage, "--dir is needed"},
		{"-dir x now", exitUsage, "too many"},
		{"-dir x -listen here", exitUsage, "--listen"},
		{"-dir x -listen :0", exitUsage, "it needs --keys, or --tls-cert and --tls-key, or --insecure"},
		{"-dir x -user me", exitUsage, passwordVariable},
		{"-dir x -password-file /nowhere", exitFailed, "/nowhere"},
		{"-dir x -password-file /dev/null", exitUsage, "needs --user"},
		{"-dir x -tls-cert x", exitUsage, "need each other"},
		{"-dir x -tls-ca x", exitUsage, "needs both"},
		{"-dir x -tls-cert /nowhere -tls-key /nowhere", exitFailed, "/nowhere"},
		{"-dir /dev/null/x", exitFailed, "/dev/null"},
	} {
		s := typed("", append([]string{"broker"}, strings.Fields(strings.Replace(c.line, "-dir x", "-dir "+dir, 1))...)...)
		if s.code != c.code {
			t.Errorf("afar broker %s: exit code %d, want %d: %s", c.line, s.code, c.code, s.errs)
		}
		contains(t, s.out+s.errs, c.says)
	}
	ca := newAuthority(t)
	cert, key := ca.sign(t, "broker")
	s := typed("", "broker", "-dir", dir, "-listen", ":0", "-tls-cert", cert, "-tls-key", key)
	if s.code != exitUsage || !strings.Contains(s.errs, "it needs --user or --tls-ca") {
		t.Errorf("it lets anybody in: %+v", s)
	}
}

// Where a broker listens at all addresses, others join by the host's name.
func TestJoinURL(t *testing.T) {
	host, err := os.Hostname()
	must(t, err)
	for text, want := range map[string]string{
		"nats://0.0.0.0:4222":           "tls://" + host + ":4222",
		"nats://[::]:4222":              "tls://" + host + ":4222",
		"nats://me:secret@10.0.0.7:422": "tls://10.0.0.7:422",
	} {
		if got := joinURL(text, true); got != want {
			t.Errorf("%s becomes %s, not %s", text, got, want)
		}
	}
}

// A node runs commands for those who may have them run, and refuses those of others.
func TestNodeQueue(t *testing.T) {
	url := onBroker(t)
	t.Setenv(nodeQueuesVariable, url+"#other")
	d := startNode(t, "-queue", url+"#thumbs", "-queue-workers", "2")
	key := os.Getenv(trust.KeyVariable)
	t.Setenv(queueVariable, url+"#thumbs")
	d.wait("working for a queue", "queue=thumbs")
	d.wait("working for a queue", "queue=other")
	submit := func(words ...string) said {
		return start(t, nil, append([]string{"queue", "submit", "-within", "1m", "-wait"}, words...)...).end()
	}
	refused := submit("--", "echo", "hello")
	if refused.code != exitFailed || !strings.Contains(refused.errs, "may not run commands") {
		t.Errorf("a command of one who may run none: %+v", refused)
	}
	d.wait("task refused", "queue=thumbs")
	if s := typed("", "key", "authorize", "--replace", "--commands", "--queues", "thumbs", key+".pub"); s.code != 0 {
		t.Fatal(s.errs)
	}
	contains(t, typed("", "key", "list").out, "commands")
	if s := submit("--", "echo", "hello"); s != (said{0, "hello\n", ""}) {
		t.Errorf("it says %+v", s)
	}
	other := submit("#other", "--", "echo", "hello")
	if other.code != exitFailed || !strings.Contains(other.errs, "may not use the queue other") {
		t.Errorf("a queue that it may not use: %+v", other)
	}
	t.Setenv(trust.KeyVariable, "")
	unsigned := submit("--", "echo", "hello")
	if unsigned.code != exitFailed || !strings.Contains(unsigned.errs, "not signed") {
		t.Errorf("a command that nobody has signed: %+v", unsigned)
	}
	t.Setenv(trust.KeyVariable, key)
	for line, says := range map[string]string{
		"-queue nowhere":               "a queue is named like",
		"-queue " + url:                "Its name is written behind the URL",
		"-queue-workers -1":            "negative",
		"-queue redis://127.0.0.1:1#a": "redis://127.0.0.1:1: ",
	} {
		if s := typed("", append([]string{"node", "-listen", "127.0.0.1:0"}, strings.Fields(line)...)...); s.code == 0 || !strings.Contains(s.errs, says) {
			t.Errorf("afar node %s: %+v", line, s)
		}
	}
}

// authority signs certificates.
type authority struct {
	dir, file string
	key       *ecdsa.PrivateKey
	cert      *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.file = filepath.Join(a.dir, "ca.pem")
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = makeCertificate(t, template, a, a.file)
	return a
}

// sign makes a certificate for this host, and returns its files.
func (a *authority) sign(t *testing.T, name string) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	_, private := makeCertificate(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, a, cert)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return cert, key
}

func makeCertificate(t *testing.T, template *x509.Certificate, by *authority, file string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	template.SerialNumber, template.Subject = serial, pkix.Name{CommonName: filepath.Base(file)}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := by.cert, by.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	must(t, err)
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert, key
}
