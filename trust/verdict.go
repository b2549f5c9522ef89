package trust

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// In TLS 1.3 the caller's side of a handshake is over before the node has seen
// the caller's key. So the node says one line more, its verdict, and the caller
// waits for it: "welcome\n", or "refused: " and a reason that ends with "\n".
// Nothing of any other protocol is sent by either side before.
const (
	welcome    = "welcome"
	refused    = "refused: "
	maxVerdict = 256 // bytes, with the end of the line
)

// sendWelcome tells the caller that it is in.
func sendWelcome(w io.Writer) error {
	_, err := io.WriteString(w, welcome+"\n")
	return err
}

// sendRefusal tells the caller that it is not in, and nothing that it does not
// know: whether its key is unknown, revoked or expired is the node's business.
func sendRefusal(w io.Writer, key PublicKey) error {
	_, err := io.WriteString(w, refused+"key "+key.Fingerprint()+" is not authorised\n")
	return err
}

// readVerdict returns nil for welcome, and an ErrRefused for a refusal. It reads
// not a byte beyond the line.
func readVerdict(r io.Reader) error {
	line, err := readLine(r)
	if err != nil {
		return err
	}
	if line == welcome {
		return nil
	}
	reason, ok := strings.CutPrefix(line, refused)
	if !ok {
		return fmt.Errorf("%q is no verdict of a node", shorten(line))
	}
	return fmt.Errorf("%w: %s", ErrRefused, strings.Map(printable, reason))
}

// readLine reads a line byte by byte, which is cheap from a tls.Conn.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < maxVerdict; {
		switch _, err := io.ReadFull(r, b); {
		case errors.Is(err, io.EOF):
			return "", errHalfOpen
		case err != nil:
			return "", err
		case b[0] == '\n':
			return string(line), nil
		}
		line = append(line, b[0])
	}
	return "", fmt.Errorf("the node's verdict has more than %d bytes", maxVerdict)
}

// printable keeps a node from writing to the caller's terminal.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return unicode.ReplacementChar
}
