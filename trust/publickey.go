package trust

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// keyType is the first word of a public key's line.
const keyType = "afar-ed25519"

// A PublicKey is the public half of a Key. It is a value: comparable with ==,
// usable as a key of a map. The zero value is no key; nothing is verified by it.
type PublicKey struct {
	raw [ed25519.PublicKeySize]byte
}

// ParsePublicKey reads a line as in key.pub: `afar-ed25519 <base64> comment`.
// The comment may be empty and may contain spaces. White space around the line
// is ignored, so the whole text of key.pub will do.
func ParsePublicKey(line string) (key PublicKey, comment string, err error) {
	if key, comment, err = parsePublicKey(line); err != nil {
		return PublicKey{}, "", fmt.Errorf("trust: %w", err)
	}
	return key, comment, nil
}

// parsePublicKey is ParsePublicKey for errors that say where the line is.
func parsePublicKey(line string) (key PublicKey, comment string, err error) {
	line = strings.TrimSpace(line)
	if err := checkText(line); err != nil {
		return PublicKey{}, "", err
	}
	kind, rest := cutWord(line)
	if kind != keyType {
		return PublicKey{}, "", fmt.Errorf("a key begins with %q, not with %q", keyType, shorten(kind))
	}
	text, comment := cutWord(rest)
	if text == "" {
		return PublicKey{}, "", fmt.Errorf("no key after %q", keyType)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return PublicKey{}, "", fmt.Errorf("the key %q is not base64: %w", shorten(text), err)
	}
	key, err = publicKey(raw)
	return key, comment, err
}

// publicKey makes a key of its bytes. The zero key is refused: it is the zero
// value of PublicKey, and a point for which signatures can be forged.
func publicKey(raw []byte) (PublicKey, error) {
	if len(raw) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("a key has %d bytes, not %d", ed25519.PublicKeySize, len(raw))
	}
	key := PublicKey{raw: [ed25519.PublicKeySize]byte(raw)}
	if key.IsZero() {
		return PublicKey{}, errors.New("a key is not all zeros")
	}
	return key, nil
}

// IsZero reports whether k is no key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String returns the key as in key.pub, without a comment.
func (k PublicKey) String() string {
	return keyType + " " + base64.StdEncoding.EncodeToString(k.raw[:])
}

// Fingerprint returns the short name of the key that people compare:
// `SHA256:` and the base64 of the hash of its 32 bytes, without padding.
func (k PublicKey) Fingerprint() string {
	sum := sha256.Sum256(k.raw[:])
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// MarshalText returns what String returns; the zero key gives nothing.
func (k PublicKey) MarshalText() ([]byte, error) {
	if k.IsZero() {
		return nil, nil
	}
	return []byte(k.String()), nil
}

// UnmarshalText reads what MarshalText wrote. A comment is not allowed here.
func (k *PublicKey) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*k = PublicKey{}
		return nil
	}
	key, comment, err := ParsePublicKey(string(text))
	if err != nil {
		return err
	}
	if comment != "" {
		return fmt.Errorf("trust: %q after the key", shorten(comment))
	}
	*k = key
	return nil
}

// Verify reports whether signature is one that the key's owner made with
// [Key.Sign] for the same context and the same data.
func (k PublicKey) Verify(context string, data, signature []byte) bool {
	if k.IsZero() || checkContext(context) != nil {
		return false
	}
	return ed25519.VerifyWithOptions(k.raw[:], data, signature, signOptions(context)) == nil
}

// maxContext leaves room for the prefix in the 255 bytes of RFC 8032.
const maxContext = 200

// checkContext refuses the empty context, because a signature without one could
// be mistaken for one of another purpose.
func checkContext(context string) error {
	if context == "" || len(context) > maxContext {
		return fmt.Errorf("trust: a signature's context has 1 to %d bytes, not %d", maxContext, len(context))
	}
	return nil
}

// signOptions choose Ed25519ctx (RFC 8032): the context is hashed in front of
// the data, so a signature is good for one purpose only, and never one of TLS.
func signOptions(context string) *ed25519.Options {
	return &ed25519.Options{Hash: crypto.Hash(0), Context: "afar/1 " + context}
}

// cutWord returns the first word of s and what follows it, both without the
// white space between them.
func cutWord(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t")
}

// shorten keeps errors readable when a file is not what it should be.
func shorten(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
