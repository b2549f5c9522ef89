// Package queue hands tasks to named, durable queues: a task outlives its caller, runs
// on one of those who listen, and its outcome can be read as often as one likes.
package queue
