package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar/node"
	"github.com/afar-go/afar/queue"
)

// nodeQueuesVariable has the queues of a node, in addition to those of its flags.
const nodeQueuesVariable = "AFAR_NODE_QUEUES"

// nodeQueues are the queues that a node is to work for.
func nodeQueues(c *cli.Command) []string {
	return append(strings.Fields(os.Getenv(nodeQueuesVariable)), c.StringSlice("queue")...)
}

// openPatience is how long a node waits for the broker of a queue when it starts. Later it
// waits as long as it takes.
const openPatience = 30 * time.Second

// openQueues opens the node's queues, with one connection for those of one broker. What it
// returns closes them, also after an error.
func openQueues(ctx context.Context, c *cli.Command, config *node.Config) (closeAll func(), err error) {
	brokers := map[string]opened{}
	closeAll = func() {
		for _, b := range brokers {
			_ = b.Close()
		}
	}
	for _, text := range nodeQueues(c) {
		p, err := parsePlace(text)
		switch {
		case err != nil:
			return closeAll, fmt.Errorf("--queue: %w", err)
		case p.name == "":
			return closeAll, usage("--queue: which queue of %s? Its name is written behind the URL, as in %s#name", p.shown, p.shown)
		}
		if brokers[p.url] == nil {
			ctx, cancel := context.WithTimeoutCause(ctx, openPatience,
				&brokerError{p.shown, fmt.Errorf("no answer within %v: %w", openPatience, context.DeadlineExceeded)})
			b, err := p.open(ctx)
			cancel()
			if err != nil {
				return closeAll, p.discreet(err)
			}
			brokers[p.url] = b
		}
		config.Queues = append(config.Queues, queue.New(brokers[p.url], p.name))
	}
	return closeAll, nil
}
