package ship

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A header is what the first bytes of an executable tell. It is read here, not by debug/elf and its sisters: they
// would add more to every program than all of this package, for a few fields.
type header struct {
	goos, goarch string // goos is "" if the format is shared by several systems
	static       bool   // it needs no interpreter (an ELF file's dynamic linker)
}

var errNotExecutable = errors.New("not an executable that a Go program could be")

// readHeader recognises ELF, Mach-O and PE files.
func readHeader(r io.ReaderAt) (header, error) {
	start := make([]byte, 64)
	if _, err := r.ReadAt(start, 0); err != nil {
		if err == io.EOF {
			err = errNotExecutable
		}
		return header{}, err
	}
	switch {
	case string(start[:4]) == "\x7fELF":
		return readELF(r, start)
	case string(start[:4]) == "\xcf\xfa\xed\xfe":
		return readMachO(start)
	case string(start[:2]) == "MZ":
		return readPE(r, start)
	}
	return header{}, errNotExecutable
}

// elfMachine identifies an ELF file's architecture: its e_machine, class and byte order.
type elfMachine struct {
	machine uint16
	bits64  bool
	big     bool
}

var elfMachines = map[elfMachine]string{
	{3, false, false}:  "386",
	{62, true, false}:  "amd64",
	{40, false, false}: "arm",
	{183, true, false}: "arm64",
	{243, true, false}: "riscv64",
	{21, true, false}:  "ppc64le",
	{21, true, true}:   "ppc64",
	{22, true, true}:   "s390x",
	{258, true, false}: "loong64",
	{8, false, false}:  "mipsle",
	{8, false, true}:   "mips",
	{8, true, false}:   "mips64le",
	{8, true, true}:    "mips64",
}

var elfSystems = map[byte]string{2: "netbsd", 9: "freebsd", 12: "openbsd"}

// interpreterSegment is PT_INTERP, the program header that names the dynamic linker.
const interpreterSegment = 3

func readELF(r io.ReaderAt, start []byte) (header, error) {
	var order binary.ByteOrder = binary.LittleEndian
	if start[5] == 2 {
		order = binary.BigEndian
	}
	machine := elfMachine{order.Uint16(start[18:]), start[4] == 2, start[5] == 2}
	h := header{goos: elfSystems[start[7]], goarch: elfMachines[machine], static: true}
	if h.goarch == "" {
		return header{}, errNotExecutable
	}
	offset, size, count := int64(order.Uint32(start[28:])), order.Uint16(start[42:]), order.Uint16(start[44:])
	if machine.bits64 {
		offset, size, count = int64(order.Uint64(start[32:])), order.Uint16(start[54:]), order.Uint16(start[56:])
	}
	for i := range int64(count) {
		kind := make([]byte, 4)
		if _, err := r.ReadAt(kind, offset+i*int64(size)); err != nil {
			return header{}, errNotExecutable
		}
		if order.Uint32(kind) == interpreterSegment {
			h.static = false
		}
	}
	return h, nil
}

func readMachO(start []byte) (header, error) {
	h := header{goos: "darwin"}
	switch binary.LittleEndian.Uint32(start[4:]) {
	case 0x01000007:
		h.goarch = "amd64"
	case 0x0100000c:
		h.goarch = "arm64"
	default:
		return header{}, errNotExecutable
	}
	return h, nil
}

func readPE(r io.ReaderAt, start []byte) (header, error) {
	signature := make([]byte, 6)
	_, err := r.ReadAt(signature, int64(binary.LittleEndian.Uint32(start[60:])))
	if err != nil || !bytes.HasPrefix(signature, []byte("PE\x00\x00")) {
		return header{}, errNotExecutable
	}
	h := header{goos: "windows"}
	switch binary.LittleEndian.Uint16(signature[4:]) {
	case 0x14c:
		h.goarch = "386"
	case 0x8664:
		h.goarch = "amd64"
	case 0xaa64:
		h.goarch = "arm64"
	default:
		return header{}, errNotExecutable
	}
	return h, nil
}

// system returns the likeliest system of the file.
func (h header) system() string {
	if h.goos == "" {
		return "linux/" + h.goarch
	}
	return h.goos + "/" + h.goarch
}

// fits tells whether the file can be a program for a system. Linux is not the only system whose ELF files say nothing
// of it.
func (h header) fits(system string) error {
	goos, goarch, ok := splitSystem(system)
	if !ok {
		return fmt.Errorf("%q is not a system; one looks like linux/amd64", system)
	}
	if goarch == h.goarch && (goos == h.goos || h.goos == "" && !marked(goos)) {
		return nil
	}
	return fmt.Errorf("it is a program for %s, not for %s", h.system(), system)
}

// marked tells whether the files of a system say that they are for it.
func marked(goos string) bool {
	switch goos {
	case "windows", "darwin", "freebsd", "netbsd", "openbsd":
		return true
	}
	return false
}

// portable tells whether the program runs on every host of its system.
func (h header) portable(system string) bool {
	goos, _, _ := splitSystem(system)
	return h.static || !staticOnly(goos)
}
