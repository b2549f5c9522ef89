// Package node is the daemon that starts workers on a host for callers that it
// knows. Its program on a command line is `afar node`.
//
// A caller connects, both sides prove their keys ([trust]), and only then is
// anything of the caller read: its program's image, which is kept by its hash, and
// workers and programs to start of it. Everything that was started for a connection
// ends with it, and what a caller has left on the disk is removed when its last
// connection has ended.
//
// # What a caller may do
//
// The caller's line in authorized_keys says so. workers= is how many workers and
// programs it may have at a time, over all its connections; memory= is for each of
// them, cpu= for all together. On Linux, where the node may use control groups
// (version 2), a caller's processes have groups of their own: limits count for
// whatever a worker starts in turn, and nothing that it has started survives it.
//
// Where Linux has no control groups for the node, memory= becomes an RLIMIT_AS of
// each process, with the address space added that a Go program takes at its start:
// a Go program ends, out of memory, within 256 MiB beyond its limit; one that is not
// Go some 1.4 GiB beyond it; what a process starts has the same limit for itself;
// and one that takes much address space without using it, by mapping large files or
// with the race detector, is refused it. Root can lift the limit.
// On other systems memory= is not enforced. Everywhere GOMEMLIMIT tells Go programs
// of it, which then collect more garbage.
// cpu= then counts only for programs that heed GOMAXPROCS, and a process may survive
// that has left its process group on purpose.
//
// The node's log, and `afar ping`, say what is enforced. A line that was changed counts
// for what is started from then on, also over connections that are there already; its cpu=
// for what runs, too, once something is started or the caller connects or asks.
//
// # Images
//
// The file of an image is read, and compared with the hash that is its name, before it is
// first used, and again when it is another file or was changed since; what is not the
// image is removed, and callers bring it again. Files of images may only be read. That is
// against damage and mistakes. It does not protect callers from each other: what they run
// is the node's user, as are all images, who may change them, also between the moment in
// which one was found in order and that in which it starts. Callers who must not trust
// each other need nodes of their own, with users of their own.
//
// # Who runs it
//
// Callers run programs of their own, with the rights of the node's user, in a
// directory of their own; its other files are protected from them by nothing but
// that user's rights. So the node's user should have nothing but the node.
package node
