package main

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// A wiring makes what a link consists of.
type wiring func() (wires, error)

// wires are the two ends of a link, each a descriptor to read from and one to write to.
type wires struct{ farIn, farOut, in, out *os.File }

// pipes are two pipes as the kernel makes them.
func pipes() (wires, error) {
	farIn, out, err := os.Pipe()
	if err != nil {
		return wires{}, err
	}
	in, farOut, err := os.Pipe()
	if err != nil {
		return wires{}, errors.Join(err, farIn.Close(), out.Close())
	}
	return wires{farIn: farIn, farOut: farOut, in: in, out: out}, nil
}

// widePipeBytes is the size of the pipes that afar's local links consist of.
const widePipeBytes = 256 << 10

// setPipeSize is F_SETPIPE_SZ, which package syscall does not name.
const setPipeSize = 1031

// widePipes are pipes as large as those of afar's links, for rows where more is under way than fits into others.
func widePipes() (wires, error) {
	w, err := pipes()
	if err != nil {
		return w, err
	}
	for _, f := range []*os.File{w.in, w.out} {
		conn, err := f.SyscallConn()
		if err != nil {
			return wires{}, errors.Join(err, w.close())
		}
		// As with afar's, it may fail: what all of a user's pipes may take together is limited.
		_ = conn.Control(func(fd uintptr) { syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, widePipeBytes) })
	}
	return w, nil
}

// socket is a pair of unix sockets.
func socket() (wires, error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return wires{}, err
	}
	// Without that its file would block threads instead of parking goroutines.
	err = syscall.SetNonblock(fds[0], true)
	w, wireErr := twoWay(os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far"))
	return w, errors.Join(err, wireErr)
}

// loopback is a TCP connection.
func loopback() (wires, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return wires{}, err
	}
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return wires{}, err
	}
	defer near.Close()
	far, err := listener.Accept()
	if err != nil {
		return wires{}, err
	}
	defer far.Close()
	in, err := near.(*net.TCPConn).File()
	if err != nil {
		return wires{}, err
	}
	farIn, err := far.(*net.TCPConn).File()
	if err != nil {
		return wires{}, errors.Join(err, in.Close())
	}
	return twoWay(in, farIn)
}

// twoWay gives the wires of two descriptors that can both be read and written. They are duplicated, so that reading
// and writing have files of their own, as with pipes.
func twoWay(near, far *os.File) (wires, error) {
	w := wires{in: near, farIn: far}
	var err error
	if w.out, err = duplicate(near); err == nil {
		w.farOut, err = duplicate(far)
	}
	if err != nil {
		return wires{}, errors.Join(err, w.close())
	}
	return w, nil
}

func duplicate(f *os.File) (*os.File, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var copied *os.File
	var dupErr error
	err = conn.Control(func(fd uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		var n int
		if n, dupErr = syscall.Dup(int(fd)); dupErr == nil {
			syscall.CloseOnExec(n)
			copied = os.NewFile(uintptr(n), f.Name())
		}
	})
	return copied, errors.Join(err, dupErr)
}

func (w wires) close() error {
	var errs []error
	for _, f := range []*os.File{w.farIn, w.farOut, w.in, w.out} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
