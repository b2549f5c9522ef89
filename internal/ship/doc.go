// Package ship brings a program to another host: it finds the executable that runs there, carries it over once, and
// starts it.
//
// An [Image] is a program's executable for one system, named by its SHA-256. A [Source] finds the image of the running
// program for any system: the running executable itself, a prebuilt one, or one that it builds. [Bootstrap] speaks over
// any byte pipe to a POSIX shell at the far end: it puts the image into a cache there, unless it is in it already, and
// executes it. A [Store] is the Go side of the same cache, for the program that has been started and for nodes.
//
// The cache is a directory with one file per image, named by the hash. A file gets its name only when it is complete
// and verified, by being renamed, so that what has a hash for a name can be executed. Beside the images there may be
// "probe", the script that tells whether programs can be executed there, and "<hash>.lock" directories of uploads that
// are under way; what an upload left behind when it was killed is removed by [Store.Tidy].
//
// # The dialogue
//
// The caller sends the script in boot.sh, and nothing else before the first answer. An answer is a line that begins, or
// goes on after noise, with "AFAR1 <nonce> ":
//
//	hello <system> <machine>    what uname -sm says; the caller sends "image <hash> <gzip size> <size> -"
//	busy <owner> <0|1>          another caller is uploading, 1 if it made progress since the last time; the caller sends
//	                            its line again after a while, with the owner at the end if that is to be taken over
//	need gzip, need raw         the caller sends exactly as many bytes as it said, and nothing behind them until it is
//	                            answered: there are programs called head that take more from a pipe than they pass on
//	sent                        the bytes could not be verified; the caller sends "go", which shows that none are missing
//	start have, start new       the image is executed; it was there before, or was uploaded
//	error <why>                 the far side ends, for one of: directory, space, upload, hash, start
//	agent                       the program's own first line, [AgentLine]
//
// An answer that ends in a carriage return has come through a terminal, which would change a program's bytes as well.
//
// "need" may come again after the bytes have been sent: the next directory is tried when one turns out to be full.
package ship
