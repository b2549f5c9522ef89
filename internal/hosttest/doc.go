// Package hosttest gives tests real hosts: each has a network, processes, mounts and a host name of its own, in Linux
// namespaces, and an sshd that lets root in with a key made for the test. Cables can be cut, routes made one-way, sshd
// stopped; every process there can be counted. It also has the test binary in a form that runs on any of them, and waits
// for the end of processes. It is for tests and benchmarks only, and needs root.
//
// A host's first process is a shell that reads its standard input, which is a pipe from the process that made the host.
// When that process ends, however it does, so does the shell, and the kernel ends every other process of the host with
// it, its network included: nothing is left behind.
package hosttest
