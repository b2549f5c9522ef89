package afar_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/afar-go/afar"
)

// Whatever is killed, whenever: each input has one result, the right one.
func TestMapUnderFire(t *testing.T) {
	for _, target := range []string{"local:1", "local:3"} {
		t.Run(target, func(t *testing.T) {
			const inputs, kills = 20_000, 200
			pool := open(t, target)
			gateways := pool.Gateways()
			random := rand.New(rand.NewPCG(1, 2))
			brave := afar.With(pool, afar.Policy{MaxAttempts: 1000})
			index, shots := 0, 0
			for out, err := range square.Map(within(t), brave, numbers(inputs)) {
				if err != nil || out != index*index {
					t.Fatalf("%d: %d, %v", index, out, err)
				}
				index++
				if random.IntN(inputs/kills) == 0 && kill(t, gateways[random.IntN(len(gateways))]) != 0 {
					shots++
				}
			}
			if index != inputs {
				t.Errorf("%d results", index)
			}
			if shots == 0 {
				t.Error("nothing was killed")
			}
			t.Logf("%d kills", shots)
		})
	}
}

// The same with calls that are made one by one.
func TestCallsUnderFire(t *testing.T) {
	pool := open(t, "local:2")
	gateways := pool.Gateways()
	brave := square.On(afar.With(pool, afar.Policy{MaxAttempts: 1000}))
	var wg sync.WaitGroup
	for worker := range 8 {
		random := rand.New(rand.NewPCG(uint64(worker), 2))
		wg.Go(func() {
			for i := range 1000 {
				if out, err := brave(within(t), i); err != nil || out != i*i {
					t.Errorf("%d: %d, %v", i, out, err)
					return
				}
				if random.IntN(200) == 0 {
					kill(t, gateways[random.IntN(len(gateways))])
				}
			}
		})
	}
	wg.Wait()
}
