package ship

import "strings"

// A Stage says how far an image had come when shipping it failed.
type Stage string

// The stages, in the order in which they are passed.
const (
	StageNoShell       Stage = "no shell"              // nothing at the far end took the script for a shell's input
	StageTerminal      Stage = "terminal"              // a terminal is on the way, which changes what passes it
	StageUnknownSystem Stage = "unknown system"        // uname names a system that Go has no port to
	StageNoProgram     Stage = "no program for system" // there is no image for the far side's system
	StageNoDirectory   Stage = "no directory"          // no directory that the image can be written to and executed in
	StageNoSpace       Stage = "no space"              // the same, and at least one of them was full
	StageUpload        Stage = "upload"                // the image did not arrive
	StageHash          Stage = "hash"                  // what arrived is not the image
	StageStart         Stage = "start"                 // the image is there, but does not run as an agent
)

// An Error says at which stage shipping an image failed, and why. It is not changed after it was returned.
type Error struct {
	Stage  Stage
	System string // of the far side, as "linux/amd64"; "" if it is not known
	Output string // the last lines that the far side or a tool printed, for people to read; may be ""
	Cached bool   // what did not start was not brought now, but taken from the far side's cache: see Renew
	Err    error  // the reason; may be nil
}

// Error gives the stage, the system, the reason and the output, if they are known.
func (e *Error) Error() string {
	text := "afar: " + string(e.Stage)
	if e.System != "" {
		text += " (" + e.System + ")"
	}
	if why := e.Why(); why != "" {
		text += ": " + why
	}
	return text
}

// Why gives the reason and the output, if they are known, for those who have said the rest.
func (e *Error) Why() string {
	var b strings.Builder
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	}
	if e.Output != "" {
		b.WriteString("; the last output was:\n\t")
		b.WriteString(strings.ReplaceAll(e.Output, "\n", "\n\t"))
	}
	return strings.TrimPrefix(b.String(), "; ")
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }
