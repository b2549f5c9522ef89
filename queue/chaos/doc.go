// Package chaos has tests of queues whose processes are killed: submitters, workers, nodes, and the
// brokers' own servers, with SIGKILL, in the middle of their tasks; and of cables that are cut. It
// has nothing else. At the end of each there is a ledger in which every task is accounted for.
//
// AFAR_CHAOS_TASKS is how many tasks the ledgers have, AFAR_CHAOS_SEED what their kills are drawn
// from.
package chaos
