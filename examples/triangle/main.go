// Triangle opens a worker, and through it another one where only the first can
// reach, and sends messages around: from here to the far worker, from there to the
// near one, and back.
//
//	go run ./examples/triangle                                        # two processes here
//	go run ./examples/triangle -near ssh://bastion -far ssh://inside  # as the bastion sees it
//
// It is py.execnet's "via", with a side more: the two workers talk to each other
// over a handle that the caller has put into a message.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/afar-go/afar"
)

// message is what goes around. Each corner adds itself to Way.
type message struct {
	Way  []string
	Next *afar.ChannelRef[message, message] // in the first one: the corner to pass messages on to, if it is not the caller
}

// corner is the routine of both workers.
var corner = afar.Routine(pass)

func pass(ctx context.Context, ch *afar.Channel[message, message]) error {
	first, err := ch.Recv(ctx)
	if err != nil {
		return err
	}
	next := ch // back to the caller
	if first.Next != nil {
		if next, err = first.Next.Bind(ctx); err != nil {
			return err
		}
	}
	host, _ := os.Hostname()
	self := fmt.Sprintf("%s:%d", host, os.Getpid())
	for m, err := range ch.All(ctx) {
		if err != nil {
			return err
		}
		m.Way = append(m.Way, self)
		if err := next.Send(ctx, m); err != nil {
			return err
		}
	}
	return next.CloseSend()
}

func main() {
	afar.Main() // a worker process serves its calls in here, and never returns
	near := flag.String("near", "local:1", "the `target` that is opened from here")
	far := flag.String("far", "local:1", "the `target` that is opened from there")
	rounds := flag.Int("n", 3, "how many messages go around")
	flag.Parse()
	if err := run(context.Background(), *near, *far, *rounds, os.Stdout); err != nil {
		log.Fatal("triangle: ", err)
	}
}

func run(ctx context.Context, near, far string, rounds int, stdout io.Writer) error {
	pool, err := afar.Open(ctx, near)
	if err != nil {
		return err
	}
	defer pool.Close() // and with it what was opened through it
	gateway := pool.Gateways()[0]
	beyond, err := gateway.Open(ctx, far)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "the caller is process %d, the corners are %s and %s\n", os.Getpid(), gateway.ID(), beyond.ID())

	fromNear, err := corner.Start(ctx, gateway)
	if err != nil {
		return err
	}
	defer fromNear.Close()
	toFar, err := corner.Start(ctx, beyond)
	if err != nil {
		return err
	}
	defer toFar.Close()

	// The near corner answers the caller; the far one passes on to the near one.
	if err := fromNear.Send(ctx, message{}); err != nil {
		return err
	}
	ref := fromNear.Ref()
	if err := toFar.Send(ctx, message{Next: &ref}); err != nil {
		return err
	}
	for i := range rounds {
		if err := toFar.Send(ctx, message{Way: []string{fmt.Sprint("message ", i+1)}}); err != nil {
			return err
		}
		m, err := fromNear.Recv(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(stdout, strings.Join(m.Way, " -> "), "-> here")
	}
	if err := toFar.CloseSend(); err != nil {
		return err
	}
	if err := toFar.Wait(ctx); err != nil {
		return err
	}
	return fromNear.Wait(ctx) // the far corner has closed its input
}
