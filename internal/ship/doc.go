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
package ship
