package launch

import (
	"os"

	"golang.org/x/sys/windows"
)

// takeLink makes the inherited pipes the worker's own.
func takeLink(read, write, _ uintptr) (Link, error) {
	for _, h := range []uintptr{read, write} {
		err := windows.SetHandleInformation(windows.Handle(h), windows.HANDLE_FLAG_INHERIT, 0)
		if err != nil {
			return nil, os.NewSyscallError("SetHandleInformation", err)
		}
	}
	return newFileLink(os.NewFile(read, "link"), os.NewFile(write, "link"), nil)
}

// renice chooses the nearest of the few priorities that there are here.
func renice(n int) error {
	class := uint32(windows.NORMAL_PRIORITY_CLASS)
	switch {
	case n >= 10:
		class = windows.IDLE_PRIORITY_CLASS
	case n > 0:
		class = windows.BELOW_NORMAL_PRIORITY_CLASS
	case n <= -10:
		class = windows.HIGH_PRIORITY_CLASS
	case n < 0:
		class = windows.ABOVE_NORMAL_PRIORITY_CLASS
	}
	return os.NewSyscallError("SetPriorityClass", windows.SetPriorityClass(windows.CurrentProcess(), class))
}

// endGroup has nothing to do: there are no process groups to kill here.
func endGroup() {}
