package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// residentEvery is how long a residentWatch waits between two looks.
const residentEvery = 2 * time.Millisecond

// A residentWatch looks at the resident sets of processes again and again.
type residentWatch struct {
	pids  []int
	first []int64 // bytes
	most  []int64

	once  sync.Once
	quit  chan struct{}
	ended chan struct{}
}

// watchResident begins to watch. It must be stopped.
func watchResident(pids ...int) (*residentWatch, error) {
	w := &residentWatch{pids: pids, quit: make(chan struct{}), ended: make(chan struct{})}
	for _, pid := range pids {
		n, err := residentBytes(pid)
		if err != nil {
			return nil, err
		}
		w.first, w.most = append(w.first, n), append(w.most, n)
	}
	go w.run()
	return w, nil
}

func (w *residentWatch) run() {
	defer close(w.ended)
	ticker := time.NewTicker(residentEvery)
	defer ticker.Stop()
	for {
		w.look()
		select {
		case <-ticker.C:
		case <-w.quit:
			w.look()
			return
		}
	}
}

func (w *residentWatch) look() {
	for i, pid := range w.pids {
		if n, err := residentBytes(pid); err == nil {
			w.most[i] = max(w.most[i], n)
		}
	}
}

// stop ends the watch, once, and gives the growth of each process to its largest in MiB. It is a page at least, the
// unit in which the kernel counts, since no ratio can be taken of nothing.
func (w *residentWatch) stop() []float64 {
	w.once.Do(func() { close(w.quit) })
	<-w.ended
	growth := make([]float64, len(w.pids))
	for i := range growth {
		growth[i] = float64(max(w.most[i]-w.first[i], int64(os.Getpagesize()))) / mebibyte
	}
	return growth
}

// residentBytes reads how much memory of a process is resident.
func residentBytes(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		return 0, fmt.Errorf("/proc/%d/statm: %w", pid, err)
	}
	return resident * int64(os.Getpagesize()), nil
}
