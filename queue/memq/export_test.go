package memq

// DamageBlob changes a blob where it is stored.
func (b *Broker) DamageBlob(queueName, hash string) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	s := b.stores[queueName]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[hash].data[0]++
}

// Size counts what a queue holds, to see that nothing is left over.
func (b *Broker) Size(queueName string) map[string]int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	s := b.stores[queueName]
	s.mu.Lock()
	defer s.mu.Unlock()
	size := map[string]int{
		"tasks": len(s.tasks), "workers": len(s.workers), "topics": len(s.topics), "blobs": len(s.blobs),
		"alarms": len(s.alarms.heap), "takers": s.takers.Len(),
	}
	for i := range s.lines {
		size["groups"] += len(s.lines[i].groups)
	}
	for state := range s.states {
		size["listed"] += s.states[state].n
	}
	return size
}
