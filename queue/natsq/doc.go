// Package natsq is the broker of package queue on NATS JetStream: in a server that runs inside
// the process ([Embedded]), or in any NATS server or cluster ([Open]).
//
// # What is stored where
//
// A queue is a log: a stream whose messages are records, each of many facts ("these tasks
// were submitted, this one was taken, that one ended"). At any time one client of the queue
// keeps it: its ledger, which is what the log says, is in that client's memory, and the
// others send their requests there. With an embedded server the keeper is the broker
// in the server's process, so that tasks go from memory to the log without a network in between;
// with any other server it is the client that came first.
//
// That one writes is not agreed upon but enforced: every record says which one it
// follows (Nats-Expected-Last-Sequence), and the server takes only one that follows the last. A
// keeper that dies, or cannot reach the server, is replaced by whoever asks next and finds
// nobody: it reads the log, and writes that it is the keeper. If the old one is alive
// after all, its next record is refused, and it stops; nothing is confirmed to anybody, not
// even a lease, before a record has been stored after it.
//
// So all that changes together is in one record, and there is no crash in between. What
// requests have led to is in the records as well, by numbers that clients give them, so that
// a request whose answer was lost is answered again, and not carried out again.
//
// Requests that come while a record is written make the next one together. That is what makes
// it quick, and what makes SyncAlways bearable: one wait for the disk confirms hundreds of tasks.
//
// # Times
//
// A queue's clock is the server's time when its keeper began, and from there on the
// keeper's monotonic clock; it never goes back. Hosts' clocks are not compared. When a queue
// gets a new keeper, leases begin anew, with their lengths: a worker is not robbed
// of one because it had nobody to renew it with. That happens once to a lease that is not renewed
// in between. Renewing writes nothing about the lease, unless its length is another or
// it was begun anew.
//
// # Durability
//
// A record is stored when the server says so. An embedded server has handed it to the operating
// system then, so the end of the process, however sudden, loses nothing; it writes to the disk
// itself once a second, so a failure of power loses at most that second. With SyncAlways
// it writes to the disk first. Other servers do what they are configured to (sync_interval, by
// default two minutes; replicas make that matter less).
//
// Outcomes, bodies and log records of more than 1 KiB are read from the log when they are
// wanted; the rest is in the keeper's memory, some 500 bytes for a task. When most of a log is of no
// use any more, what is of use in its oldest part is written again at its end, and the
// part is deleted, but not before the new records are on the disk.
//
// Blobs are in a stream of their own for each queue, in parts of 512 KiB. They are seen when all
// parts are there and have been found to be what the hash says.
//
// # Names
//
// Everything begins with a prefix, "afar" if no other is given: the streams afar_queue_* and
// afar_blobs_*, and the subjects afar.log.*, afar.blob.>, afar.keeper.*, afar.hello.* and
// afar.summon, which is what users of an account need permissions for, besides JetStream's own
// interface. A queue's token in them is what can be read of its name and a part of the name's
// SHA-256; the name itself is in the streams' metadata.
package natsq
