// Command bench compares afar with the raw limit of its transport and with its rivals, in one run.
//
//	cd bench && go run .            # everything; prints the table and writes RESULTS.md
//	go run . -row serial,map        # some rows only; prints, writes nothing
//	go run . -row items-out -contender '^afar' -cpuprofile cpu.out
//	go run . -retries 5             # again while other processes disturb a row; keeps its quietest run
//	go run . -smoke                 # a moment per row; fails on any wrong result
//
// Absolute figures move by a factor of two between moments on a shared machine, so every contender of a row is
// measured in turn, round after round (A B C A B C …), and what counts is the median of the ratios taken within
// one round. "raw" is always the bare transport: two pipes to a re-executed copy of this binary, without framing,
// encoding or dispatch. Other raw limits say what they are in their names.
//
// Files: experiment.go says what a row is and runs its rounds, table.go prints; a file per row or family of rows
// (calls.go, bulk.go, mapping.go, scaling.go, flow.go, conversation.go, ring.go, unread.go, start.go, ssh.go,
// tls.go, heap.go, queue.go, queueflat.go) says what is measured; a file per contender (afar.go, raw.go, netrpc.go,
// grpc.go, yamux.go, python.go, protoactor.go; for flows afarflow.go, grpcflow.go, yamuxflow.go; for unread strain.go;
// for queues afarqueue.go, redis.go, jetstream.go, asynq.go, pythonqueue.go) says how. link.go starts the rivals'
// processes, wiring.go lays what connects them, and leftover.go proves that none is left; disturbance.go measures what
// unrelated processes took meanwhile, resident.go what memory processes take. host_linux.go makes the host of the rows
// with ssh.
//
// The program needs a Unix system; resident set sizes and the search for leftover processes need Linux's /proc.
package main
