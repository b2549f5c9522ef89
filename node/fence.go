package node

import (
	"fmt"
	"strconv"

	"github.com/afar-go/afar/trust"
)

// describe says how the limits of a grant are kept: each by what is named, or not.
func describe(grant trust.Grant, memory, cpu string) []string {
	var all []string
	if grant.Workers > 0 {
		all = append(all, fmt.Sprintf("%d workers", grant.Workers))
	}
	if grant.Memory > 0 {
		all = append(all, fmt.Sprintf("%s of memory for each worker: %s", size(grant.Memory), memory))
	}
	if grant.CPU > 0 {
		all = append(all, fmt.Sprintf("%s processors: %s", strconv.FormatFloat(grant.CPU, 'g', -1, 64), cpu))
	}
	return all
}

// size is a number of bytes for people.
func size(n int64) string {
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}} {
		if n >= unit.bytes {
			return strconv.FormatFloat(float64(n)/float64(unit.bytes), 'f', -1, 64) + " " + unit.name
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// How limits are kept.
const (
	byGroup = "by control group"
	// A Go program takes address space for its heap before it uses it, and is
	// refused that; other programs have all of what a Go program has at its start
	// in addition, and so has everything that they start.
	byRlimit   = "roughly, by RLIMIT_AS: a Go process ends within 256 MiB beyond it, another later"
	byGoal     = "not enforced here, only GOMEMLIMIT"
	byGoodwill = "not enforced here, only GOMAXPROCS"
)
