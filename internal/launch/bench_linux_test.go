package launch_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/afar-go/afar/internal/launch"
)

func init() {
	scripts["hello"] = func(in *launch.Inherited) {
		_, _ = in.Link.Write([]byte("h"))
		awaitEnd(in)
	}
	roles["hello"] = func() {
		_, _ = os.Stdout.Write([]byte("h"))
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

// BenchmarkStart compares the time from Local to a worker's first byte with that of a bare start of this program.
func BenchmarkStart(b *testing.B) {
	b.Run("worker", func(b *testing.B) {
		for b.Loop() {
			w, err := launch.Local(spec("hello"))
			if err != nil {
				b.Fatal(err)
			}
			_, _ = w.Link().Read(make([]byte, 1))
			b.StopTimer()
			_ = w.Link().Close()
			w.Exit()
			b.StartTimer()
		}
	})
	b.Run("bare", func(b *testing.B) {
		env := append(os.Environ(), roleVariable+"=hello")
		for b.Loop() {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = env
			in, _ := cmd.StdinPipe()
			out, _ := cmd.StdoutPipe()
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			_, _ = out.Read(make([]byte, 1))
			b.StopTimer()
			_ = in.Close()
			_ = cmd.Wait()
			b.StartTimer()
		}
	})
}

// BenchmarkRoundTrip sends 64 bytes there and back, in one and in two buffers.
func BenchmarkRoundTrip(b *testing.B) {
	for _, vector := range []bool{false, true} {
		b.Run(fmt.Sprintf("vector=%v", vector), func(b *testing.B) {
			w := start(b, spec("echo"))
			message := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				if vector {
					_ = w.Link().Writev(message[:20], message[20:])
				} else {
					_, _ = w.Link().Write(message)
				}
				_, _ = io.ReadFull(w.Link(), message)
			}
			b.ReportMetric(float64(w.RSS())/(1<<20), "worker-MiB")
		})
	}
}
