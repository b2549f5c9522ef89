// Package push makes a directory in one place equal to a directory in another,
// and sends only what is different. It knows both ends and no more of the way
// between them than that it carries bytes: an io.ReadWriter.
//
// # Conversation
//
// The near side has the Source and a Session, the far side runs Receive. They
// take turns, so that neither writes while the other does: whatever the windows of
// the link are, they never wait for each other.
//
//	near: options, the directory           far: which directory of which host that is
//	near: a batch of entries, its end      far: what it needs of each, its turn
//	near: the answers, in that order       far: further needs, its turn … the batch is done
//	near: the next batch …                 far: …
//
// Entries come in the order of a walk, the names of each directory sorted by their
// bytes. Names are single ones and never paths, so there is no path that could
// lead out. An entry says what a directory, file or link is like; of a file that is
// not the same there already, the content follows as operations: these bytes,
// zeros, blocks of the file that is to be replaced, a block of another file that
// was pushed before. SHA-256 of the whole decides whether it takes its place; when
// it differs, because something there changed meanwhile, the file is asked for
// once more without any of what is there.
//
// # What is held in memory
//
// A batch (4,096 entries, 512 KiB), the names in each directory on the way to
// where the walk is, signatures of the blocks of files that are answered in one
// turn (1.5 MiB, or those of one file), and where the blocks are that were sent
// (65,536). No file is.
//
// # What the far side trusts
//
// Nothing. It works in one directory by os.Root, opens directories one at a time,
// and never one that it was led to by a link; files appear under a temporary name
// and are renamed; names that are not single ones, out of order or reserved, sizes
// and counts beyond what was agreed end the push. The near side opens only what it
// has named in the batch.
package push
