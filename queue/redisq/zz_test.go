package redisq_test

import (
	"fmt"
	"net"
	"testing"
	"time"
)

func BenchmarkStats(b *testing.B) {
	s := startServer(b)
	e := &endToEnd{b: b, broker: open(b, "unix://"+s.socket), batch: 100}
	b.ResetTimer()
	report := usage(b, s)
	e.run()
	report()
	c, _ := net.Dial("unix", s.socket)
	c.Write([]byte("INFO commandstats\r\n"))
	buf := make([]byte, 1<<16)
	time.Sleep(100 * time.Millisecond)
	n, _ := c.Read(buf)
	fmt.Println(b.N, string(buf[:n]))
}
