package hosttest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

// block is a range of addresses that belongs to one process of this machine at a time.
type block struct {
	number int
	hold   net.Listener // a name that the kernel frees when the process ends
}

// The addresses are 10.213.0.0/16: 32 blocks of 512 networks of four addresses, of which the middle two are the two
// ends of a wire.
const (
	blocks   = 32
	networks = 512
)

// mine is the block of this process.
var mine struct {
	sync.Mutex
	*block
	used int
}

// claim returns this process's block, and a number in it for a host.
func claim() (*block, int, error) {
	mine.Lock()
	defer mine.Unlock()
	if mine.block == nil {
		for i := range blocks {
			n := (os.Getpid() + i) % blocks
			hold, err := net.Listen("unix", fmt.Sprintf("@afar-hosttest-%d", n))
			if err == nil {
				mine.block = &block{number: n, hold: hold}
				break
			}
		}
		if mine.block == nil {
			return nil, 0, errors.New("hosttest: all addresses are taken by other processes")
		}
	}
	mine.used++
	return mine.block, mine.used % networks, nil
}

// addresses are those of the near and the far end of a wire.
func (b *block) addresses(n int) (near, far string) {
	first := (b.number*networks + n) * 4
	return fmt.Sprintf("10.213.%d.%d", first>>8, first&255+1), fmt.Sprintf("10.213.%d.%d", first>>8, first&255+2)
}
