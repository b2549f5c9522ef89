// Package redisq is a broker on Redis (6.2 or later) or Valkey: one server, a cluster, or
// what sentinels watch.
//
// # What is stored
//
// Everything of a queue is under one prefix with the queue's name as hash tag, such as
// afar:{thumbs}:tasks, so that a script can change it together, in a cluster too. Each
// method is one call of a Lua script for a batch of tasks: what it changes is changed together,
// and Redis' TIME is the only clock.
//
// Lanes of waiting tasks (one for each priority and group) are lists of IDs, and the
// tasks are in one hash, not streams with consumer groups: a stream cannot take back an entry
// at its front, has no way to a task by its ID, and its commands take one entry each,
// where RPUSH, LPOP, HSET and HMGET take a batch, at a third of the cost for each task.
// Topics are streams, read with a cursor. Every entry goes when its task is done, so the
// memory of a queue is that of the tasks it has.
//
// A Take that finds nothing blocks on a stream to which an entry is added by the same script
// that makes tasks available to an empty queue, or makes something due earlier, and goes on from
// the entry that the script saw which found nothing. So no wake-up is lost, and
// tasks whose delay or lease ends need nobody but those who wait for them. While it waits,
// a Take or a Follow has a connection of its own.
//
// # What is promised
//
// What a method has returned for is as durable as the server makes it. With appendonly yes and
// appendfsync always nothing of it is lost. With everysec, what the server had not written or synced is: up to
// two seconds when it is killed or the power fails, mostly none when it is killed alone. Without an
// append-only file it is all since the last snapshot, and a failover loses what the replica had not
// received.
//
// When a connection is lost, or the server says that it will be back (it loads its data, fails
// over, is busy), every method goes on until its context ends. A request that is
// repeated carries a number by which the server knows it, for a day, and is answered as it
// was the first time: nothing is stored, leased, logged or counted twice by it. Errors that do not
// go away by waiting, such as WRONGPASS, NOPERM or OOM, are returned.
//
// The server must not evict keys (maxmemory-policy noeviction). When it has no memory left, Submit is refused, and what
// is stored can be taken and settled. A Settle of which a Retention is 0 costs least, one that is kept about three
// times as much.
package redisq
