package natsq_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/afar-go/afar/queue/natsq"
)

// serverVariable makes this test binary a server: its value is a key of servers.
const serverVariable = "NATSQ_TEST_SERVER"

func TestMain(m *testing.M) {
	if run := servers[os.Getenv(serverVariable)]; run != nil {
		run(os.Getenv("NATSQ_TEST_DIR"))
		return
	}
	goleak.VerifyTestMain(m)
}

// servers say where they are, and end when their input does.
var servers = map[string]func(dir string){
	"embedded": func(dir string) { serveEmbedded(natsq.Config{Dir: dir, Listen: "127.0.0.1:0"}) },
	"synced":   func(dir string) { serveEmbedded(natsq.Config{Dir: dir, Listen: "127.0.0.1:0", SyncAlways: true}) },
	"cleaned":  func(dir string) { serveEmbedded(natsq.SmallLogs(natsq.Config{Dir: dir, Listen: "127.0.0.1:0"})) },
	"plain":    servePlain,
}

func serveEmbedded(c natsq.Config) {
	b, err := c.Embedded(context.Background())
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println(b.URL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = b.Close()
}

// servePlain runs a server that knows nothing of queues.
func servePlain(dir string) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, StoreDir: dir, JetStream: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		fmt.Println("error: it does not start")
		return
	}
	fmt.Println(s.ClientURL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	s.Shutdown()
	s.WaitForShutdown()
}
