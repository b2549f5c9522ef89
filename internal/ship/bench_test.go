//go:build unix

package ship

import (
	"io"
	"os/exec"
	"testing"
)

// BenchmarkBootstrap compares a warm and a cold start of a program with that of a bare shell.
func BenchmarkBootstrap(b *testing.B) {
	for _, name := range []string{"dash", "bash", "busybox"} {
		argv := shellOf(b, name)
		b.Run(name+"/bare", func(b *testing.B) {
			for b.Loop() {
				if err := exec.Command(argv[0], append(argv[1:], "-c", "exit")...).Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
		image, dir := program(b, 4<<20), b.TempDir()
		ship := func(b *testing.B, image *Image, home []string) {
			f := start(b, argv, home)
			arrival, err := Bootstrap(b.Context(), f, 0, give(image))
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			_ = f.in.Close()
			_, _ = io.Copy(io.Discard, arrival.Link)
			f.wait()
			b.StartTimer()
		}
		b.Run(name+"/warm", func(b *testing.B) {
			ship(b, image, home(dir))
			for b.Loop() {
				ship(b, image, home(dir))
			}
		})
		b.Run(name+"/cold", func(b *testing.B) {
			b.SetBytes(image.Size())
			for b.Loop() {
				ship(b, image, home(b.TempDir()))
			}
		})
	}
}
