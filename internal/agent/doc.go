// Package agent lets one process start others on behalf of another, and relays
// their links, over streams of the link between the two. So a host is reached by
// one connection however many workers it has, and a gateway's worker can open
// what only it can reach.
//
// A Server does what the far side asks for: it starts workers of its program or of
// an image that it keeps, runs commands whose standard streams are a link, and
// connects to addresses. What it has started ends with the stream or the link by
// which it was asked for. A Place asks for it, and gives back the handles that
// package launch gives: whoever has one need not know where the process is.
//
// # Streams
//
// Whatever is started has a control stream, opened by the Place, by which it is
// killed, and over which its output and its exit come. Its bytes have a stream of
// their own, so that a worker that prints much, to somebody who reads slowly, does
// not hold up its calls.
package agent
