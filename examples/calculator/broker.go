package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
	"github.com/afar-go/afar/queue/natsq"
	"github.com/afar-go/afar/queue/redisq"
)

// broker is a broker that can be closed, as all are that come with afar.
type broker interface {
	queue.Broker
	Close() error
}

// open opens the broker at a place. A program links those that it imports: natsq has a whole NATS
// server in it, 11 MiB of this program. Here that pays, because it makes a directory do
// for a broker, with no server to be installed; a program that has its Redis
// leaves those lines out.
func open(ctx context.Context, place, listen string) (broker, error) {
	switch {
	case place == "":
		return memq.New(), nil
	case strings.HasPrefix(place, "nats://"), strings.HasPrefix(place, "tls://"):
		return natsq.Open(ctx, place)
	case strings.Contains(place, "://"):
		return redisq.Open(ctx, place)
	}
	return natsq.Config{Dir: place, Listen: listen}.Embedded(ctx)
}

// invite says how others can join a broker in a directory.
func invite(b broker, stdout io.Writer) {
	if embedded, ok := b.(*natsq.Broker); ok {
		fmt.Fprintln(stdout, "others can join with -broker", embedded.URL())
	}
}
