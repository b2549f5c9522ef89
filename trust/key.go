package trust

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	// pemType is what a private key's file begins with.
	pemType = "AFAR PRIVATE KEY"
	// maxKeyFile bounds what is read of a file that may be no key at all.
	maxKeyFile = 16 << 10
)

// A Key is an identity: of a caller, or of a node. It is immutable and safe for
// concurrent use. It is made by NewKey and LoadKey only. Printing it shows its
// public half.
type Key struct {
	private     ed25519.PrivateKey
	public      PublicKey
	comment     string
	certificate tls.Certificate // made once; the envelope in which TLS carries the key
}

// NewKey makes a new identity. The comment is for people, usually user@host; it
// is one line, without control characters.
func NewKey(comment string) (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("trust: no new key: %w", err)
	}
	return newKey(private, comment)
}

// LoadKey reads the identity that Save wrote to path. A file that anyone but
// its owner can read is refused with an error that is fs.ErrPermission and
// names the chmod to run.
func LoadKey(path string) (*Key, error) {
	text, err := readKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("trust: %s: %w", path, err)
	}
	return key, nil
}

// Save writes the identity to path, readable by its owner only (mode 0600), and
// its public half to path.pub. Directories that are missing are made. A file
// that is there already is never overwritten: the error is fs.ErrExist then, and
// nothing was written.
func (k *Key) Save(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	text, err := k.encode()
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path + ".pub"); err == nil {
			// It may be the only copy of somebody's public key.
			return fmt.Errorf("trust: key not saved: %s.pub is there without its private half %s: move it away, or choose another name: %w",
				path, path, fs.ErrExist)
		}
	}
	if err := writeNew(path, text, 0o600); err != nil {
		return fmt.Errorf("trust: key not saved: %w", err)
	}
	if err := writeNew(path+".pub", []byte(k.String()+"\n"), 0o644); err != nil {
		return errors.Join(fmt.Errorf("trust: public key not saved: %w", err), os.Remove(path))
	}
	return nil
}

// Public returns the half of the key that others may know.
func (k *Key) Public() PublicKey { return k.public }

// Comment returns what NewKey was given.
func (k *Key) Comment() string { return k.comment }

// String returns the line that is in key.pub: the public half and the comment.
func (k *Key) String() string {
	return strings.TrimRight(k.public.String()+" "+k.comment, " ")
}

// GoString keeps the private half out of %#v.
func (k *Key) GoString() string { return "trust.Key(" + k.public.Fingerprint() + ")" }

// Sign signs data for one purpose, the context: 1 to 200 bytes, for example
// "image" or "task". What was signed for one purpose is not valid for another,
// nor in a handshake. Equal data give equal signatures, of 64 bytes. Of what is
// large, sign the hash.
func (k *Key) Sign(context string, data []byte) ([]byte, error) {
	if err := checkContext(context); err != nil {
		return nil, err
	}
	signature, err := k.private.Sign(rand.Reader, data, signOptions(context))
	if err != nil {
		return nil, fmt.Errorf("trust: not signed: %w", err)
	}
	return signature, nil
}

// newKey completes a private key to an identity.
func newKey(private ed25519.PrivateKey, comment string) (*Key, error) {
	comment = strings.TrimSpace(comment)
	if err := checkText(comment); err != nil {
		return nil, fmt.Errorf("trust: a key's comment: %w", err)
	}
	public, err := publicKey(private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	certificate, err := makeCertificate(private)
	if err != nil {
		return nil, fmt.Errorf("trust: no certificate: %w", err)
	}
	return &Key{private: private, public: public, comment: comment, certificate: certificate}, nil
}

// makeCertificate puts the key into the only envelope that TLS carries. All
// fields but the key are fixed: nobody looks at them, and they tell nothing.
func makeCertificate(private ed25519.PrivateKey) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "afar"},
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280: no end
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, nil
}

// encode returns the text of the private key's file: PKCS #8 in PEM.
func (k *Key) encode() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, err
	}
	block := &pem.Block{Type: pemType, Bytes: der}
	if k.comment != "" {
		block.Headers = map[string]string{"Comment": k.comment}
	}
	text := pem.EncodeToMemory(block)
	if text == nil {
		return nil, errors.New("the key cannot be written as PEM")
	}
	return text, nil
}

// parseKey is the inverse of encode.
func parseKey(text []byte) (*Key, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, fmt.Errorf("not a private key: no line -----BEGIN %s-----", pemType)
	case block.Type != pemType:
		return nil, fmt.Errorf("holds a %q, not an %q", shorten(block.Type), pemType)
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("something follows the private key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("damaged private key: %w", err)
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("holds a %T; only Ed25519 keys are used", parsed)
	}
	return newKey(private, block.Headers["Comment"])
}

// readKeyFile reads a private key's file, if nobody else can read it.
func readKeyFile(path string) ([]byte, error) {
	file, info, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, fmt.Errorf("%w: the private key %s can be read by others (mode %#o): run chmod 600 %s",
			fs.ErrPermission, path, mode, shellWord(path))
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("%s is too large for a private key", path)
	}
	return text, err
}
