package launch

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Network is how addresses of a network are reached. Package trust registers the one for TCP: TLS is a third of a small
// program, so it is linked only into those that ask for it.
type Network struct {
	// Dial connects to an address.
	Dial func(ctx context.Context, address string) (Link, error)
	// Secure makes a connection to a node at address, over any link to there, one of which both ends know who the other
	// is. The link is its own from then on, also when it fails.
	Secure func(ctx context.Context, link Link, address string) (Link, error)
}

var tcp atomic.Pointer[Network]

// RegisterTCP sets how TCP addresses are reached.
func RegisterTCP(n Network) { tcp.Store(&n) }

// TCP returns how TCP addresses are reached.
func TCP() (*Network, error) {
	if n := tcp.Load(); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("tcp needs TLS, which this program does not have: import _ %q", "github.com/afar-go/afar/trust")
}

// Dial connects to an address of the network "tcp" or "unix".
func Dial(ctx context.Context, network, address string) (Link, error) {
	switch network {
	case "unix":
		return dialUnix(ctx, address)
	case "tcp":
		n, err := TCP()
		if err != nil {
			return nil, err
		}
		return n.Dial(ctx, address)
	}
	return nil, fmt.Errorf("unknown network %q", network)
}
