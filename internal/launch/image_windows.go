package launch

import (
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// fileID identifies a file by the serial number of its volume and its index there, which are Windows' device and
// inode.
func fileID(file *os.File, info os.FileInfo) (string, error) {
	var data windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(file.Fd()), &data); err != nil {
		return "", os.NewSyscallError("GetFileInformationByHandle", err)
	}
	index := uint64(data.FileIndexHigh)<<32 | uint64(data.FileIndexLow)
	return fmt.Sprintf("%d:%d:%d:%d", data.VolumeSerialNumber, index, info.Size(), info.ModTime().UnixNano()), nil
}
