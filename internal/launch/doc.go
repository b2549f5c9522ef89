// Package launch starts something and gives back a byte pipe to it, together with the means to wait for its
// end, to kill it, and to learn why it died.
//
// [Local] starts this very program again as a worker process; [InProcess] runs a function in a goroutine behind
// the same handle. Both return a [Worker] whose [Link] carries bytes and nothing else: what the bytes mean is the
// business of the packages above. In a process that Local started, [Inherit] finds the worker's end of the link.
//
// The life of a local worker:
//
//   - It is the same image as its parent, even when the file was deleted or replaced on disk (see [RememberImage]).
//   - It leads a process group of its own. However it dies, that group is killed before its process ID can be
//     used again, so neither a grandchild survives nor a stranger is hit.
//   - It ends with its link. The kernel closes the link however the parent dies; the worker's side reads the end
//     of file and calls [Inherited.End].
//   - It holds no descriptor of its parent but the link, the null device, and the pipe for what it prints.
//   - On Linux its link has memory beside it that both processes see (package ring), for large payloads.
package launch
