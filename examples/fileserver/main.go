// Fileserver fetches files from where a worker is: the caller sends paths over a
// channel, the worker answers each with the contents of the file.
//
//	go run ./examples/fileserver main.go go.mod                # below this directory
//	go run ./examples/fileserver -on 'local:1?dir=/etc' hosts  # below another one
//
// It is the file server of py.execnet's documentation, with two differences: a
// file of any size goes through in pieces, and what is not below the worker's
// directory is refused.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/afar-go/afar"
)

// serveFiles runs in the worker. What it receives is paths, relative to the
// directory that it runs in; what it sends is the contents of one file after the
// other, in pieces, with an empty piece after each file.
//
// Its first error ends the conversation, and arrives at the caller.
func serveFiles(ctx context.Context, ch *afar.Channel[[]byte, string]) error {
	root, err := os.OpenRoot(".") // opens nothing that is outside, whatever the path or a symbolic link says
	if err != nil {
		return err
	}
	defer root.Close()
	for path, err := range ch.All(ctx) { // until the caller says CloseSend
		if err != nil {
			return err
		}
		if err := serveFile(ctx, ch, root, path); err != nil {
			return err
		}
	}
	return nil
}

func serveFile(ctx context.Context, ch *afar.Channel[[]byte, string], root *os.Root, path string) error {
	file, err := root.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	// The writer sends pieces of at most 64 KiB, never an empty one, and waits
	// while the caller is behind: neither side holds more than a MiB of a file.
	if _, err := io.Copy(afar.NewWriter(ch), file); err != nil {
		return err
	}
	return ch.Send(ctx, nil)
}

// files is serveFiles, to be started in another process. The types are those of
// the caller's end: it sends paths and receives pieces.
var files = afar.Routine(serveFiles)

// fetch asks for one file and writes its contents to w.
func fetch(ctx context.Context, ch *afar.Channel[string, []byte], path string, w io.Writer) error {
	if err := ch.Send(ctx, path); err != nil {
		return err
	}
	for {
		piece, err := ch.Recv(ctx)
		if err != nil {
			return err
		}
		if len(piece) == 0 {
			return nil
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
}

func main() {
	afar.Main() // a worker process serves its calls in here, and never returns
	target := flag.String("on", "local:1", "the `target` to fetch from; its parameter dir is the directory that is served")
	flag.Parse()
	if err := run(context.Background(), *target, flag.Args(), os.Stdout); err != nil {
		log.Fatal("fileserver: ", err)
	}
}

func run(ctx context.Context, target string, paths []string, stdout io.Writer) error {
	pool, err := afar.Open(ctx, target)
	if err != nil {
		return err
	}
	defer pool.Close()
	ch, err := files.Start(ctx, pool)
	if err != nil {
		return err
	}
	defer ch.Close()

	for _, path := range paths {
		fmt.Fprintf(stdout, "--- %s\n", path)
		if err := fetch(ctx, ch, path, stdout); err != nil {
			return err
		}
	}
	// No more paths will come: the routine's loop ends, it returns, and Wait has
	// what it returned.
	_ = ch.CloseSend() // its error is always nil
	return ch.Wait(ctx)
}
