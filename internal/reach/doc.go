// Package reach keeps a host within reach: it runs ssh or another command, or
// connects to a node, sees to it that the program is there, and starts workers over
// that one connection. When the connection is lost, the next worker that is asked for
// makes another.
//
// Nothing in it knows whether it is the caller itself who runs ssh: a Via runs
// commands and connects, here or from where a worker is.
package reach
