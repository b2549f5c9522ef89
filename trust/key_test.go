package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// goldenSeed is the private key in testdata: 32 bytes, 1 to 32.
func goldenSeed() []byte {
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = byte(i + 1)
	}
	return seed
}

func goldenKey(t testing.TB) *Key {
	t.Helper()
	key, err := newKey(ed25519.NewKeyFromSeed(goldenSeed()), "ada@example: the first one")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// The files of keys are read by later versions, and by other programs.
func TestKeyGoldenFiles(t *testing.T) {
	key := goldenKey(t)
	path := filepath.Join(t.TempDir(), "sub", "dir", "key")
	if err := key.Save(path); err != nil {
		t.Fatal(err)
	}
	for name, golden := range map[string]string{path: "testdata/key", path + ".pub": "testdata/key.pub"} {
		if got, want := readFile(t, name), readFile(t, golden); got != want {
			t.Errorf("%s is\n%s\nbut %s has\n%s", filepath.Base(name), got, golden, want)
		}
	}
	const fingerprint = "SHA256:ZbYGc9btiEvwHCwiLYKtoHQPKawzVdapJcgfF/R6J7g"
	if got := key.Public().Fingerprint(); got != fingerprint {
		t.Errorf("fingerprint %s, want %s", got, fingerprint)
	}
	signature, err := key.Sign("image", []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	if want := readFile(t, "testdata/signature"); fmt.Sprintf("%x\n", signature) != want {
		t.Errorf("signature %x, want %s", signature, want)
	}
}

func TestKeySaveAndLoad(t *testing.T) {
	key := newTestKey(t, "  ada@example  ")
	path := filepath.Join(t.TempDir(), "key")
	if err := key.Save(path); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Public() != key.Public() || loaded.Comment() != "ada@example" {
		t.Errorf("loaded %v, saved %v", loaded, key)
	}
	public, comment, err := ParsePublicKey(readFile(t, path+".pub"))
	if err != nil || public != key.Public() || comment != "ada@example" {
		t.Errorf("key.pub has %v %q: %v", public, comment, err)
	}
	if runtime.GOOS != "windows" {
		checkMode(t, path, 0o600)
		if info, err := os.Stat(path + ".pub"); err != nil || info.Mode().Perm()&^0o644 != 0 {
			t.Errorf("key.pub: %v, %v", info.Mode(), err)
		}
	}
	if err := newTestKey(t, "").Save(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second Save: %v", err)
	}
	if again, err := LoadKey(path); err != nil || again.Public() != key.Public() {
		t.Errorf("after a second Save: %v, %v", again, err)
	}
}

func checkMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != want {
		t.Errorf("%s has mode %#o, want %#o", path, info.Mode().Perm(), want)
	}
}

// A public key that is there already belongs to another key.
func TestKeySaveKeepsPublicKeyOfAnother(t *testing.T) {
	path := writeFile(t, "key.pub", "mine")
	path = strings.TrimSuffix(path, ".pub")
	if err := newTestKey(t, "").Save(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Save: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a key is left: %v", err)
	}
}

func TestLoadKeyRefusesReadableByOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes of files here")
	}
	path := filepath.Join(t.TempDir(), "a key")
	if err := newTestKey(t, "").Save(path); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKey(path)
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "chmod 600 '"+path+"'") {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
}

func TestLoadKeyRefusesWhatIsNoKey(t *testing.T) {
	good := readFile(t, "testdata/key")
	for name, c := range map[string]struct{ text, want string }{
		"empty":     {"", "not a private key"},
		"public":    {readFile(t, "testdata/key.pub"), "not a private key"},
		"ssh":       {strings.ReplaceAll(good, pemType, "OPENSSH PRIVATE KEY"), `holds a "OPENSSH PRIVATE KEY"`},
		"two":       {good + good, "something follows"},
		"damaged":   {strings.Replace(good, "MC4C", "MC4D", 1), "damaged private key"},
		"too large": {good + strings.Repeat(" ", maxKeyFile), "too large"},
		"RSA":       {rsaKeyFile(t), "only Ed25519 keys are used"},
	} {
		path := writeFile(t, "key", c.text)
		_, err := LoadKey(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := LoadKey(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := LoadKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// rsaKeyFile is a key of the wrong kind in the right file.
func rsaKeyFile(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
}

func TestNewKeyRefusesComment(t *testing.T) {
	for _, comment := range []string{"two\nlines", "red\x1b[31m", "\xff", "left\u202eright"} {
		if _, err := NewKey(comment); err == nil {
			t.Errorf("comment %q was accepted", comment)
		}
	}
}

// A key that ends in a log by accident must not tell its private half.
func TestKeyPrintsItsPublicHalf(t *testing.T) {
	key := goldenKey(t)
	secret := fmt.Sprintf("%d", goldenSeed()[3:9])
	secret = strings.Trim(secret, "[]")
	for _, verb := range []string{"%v", "%+v", "%s", "%q", "%#v"} {
		text := fmt.Sprintf(verb, key)
		if strings.Contains(text, secret) || strings.Contains(text, "private") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

func TestParsePublicKeyErrors(t *testing.T) {
	good := goldenKey(t).Public().String()
	for name, c := range map[string]struct{ line, want string }{
		"empty":     {"", `begins with "afar-ed25519"`},
		"ssh":       {"ssh-ed25519 AAAA", `not with "ssh-ed25519"`},
		"no key":    {"afar-ed25519 ", "no key after"},
		"no base64": {"afar-ed25519 ????", "not base64"},
		"loose":     {good[:len(good)-2] + "B=", "not base64"},
		"short":     {"afar-ed25519 AAAA", "32 bytes, not 3"},
		"zero":      {PublicKey{}.String(), "all zeros"},
		"control":   {good + " \x00", "U+0000"},
	} {
		if _, _, err := ParsePublicKey(c.line); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestPublicKeyText(t *testing.T) {
	for _, key := range []PublicKey{{}, goldenKey(t).Public()} {
		text, err := key.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back PublicKey
		if err := back.UnmarshalText(text); err != nil || back != key {
			t.Errorf("%s came back as %v: %v", text, back, err)
		}
	}
	var key PublicKey
	if err := key.UnmarshalText([]byte(goldenKey(t).String())); err == nil {
		t.Error("a comment was lost in silence")
	}
}

func TestSignatures(t *testing.T) {
	key, other := newTestKey(t, ""), newTestKey(t, "")
	data := []byte("hash of an image")
	signature, err := key.Sign("image", data)
	if err != nil {
		t.Fatal(err)
	}
	if !key.Public().Verify("image", data, signature) {
		t.Error("a good signature is refused")
	}
	broken := bytes.Clone(signature)
	broken[0] ^= 1
	for name, ok := range map[string]bool{
		"another purpose":   key.Public().Verify("task", data, signature),
		"no purpose":        key.Public().Verify("", data, signature),
		"another key":       other.Public().Verify("image", data, signature),
		"no key":            PublicKey{}.Verify("image", data, signature),
		"other data":        key.Public().Verify("image", data[1:], signature),
		"broken":            key.Public().Verify("image", data, broken),
		"cut":               key.Public().Verify("image", data, signature[:63]),
		"empty":             key.Public().Verify("image", data, nil),
		"plain Ed25519":     key.Public().Verify("image", data, ed25519.Sign(key.private, data)),
		"as plain Ed25519":  ed25519.Verify(key.public.raw[:], data, signature),
		"purpose in data":   key.Public().Verify("imag", append([]byte("e"), data...), signature),
		"too long, refused": key.Public().Verify(strings.Repeat("x", maxContext+1), data, signature),
	} {
		if ok {
			t.Errorf("a signature is accepted: %s", name)
		}
	}
	for _, context := range []string{"", strings.Repeat("x", maxContext+1)} {
		if _, err := key.Sign(context, data); err == nil {
			t.Errorf("signed for a purpose of %d bytes", len(context))
		}
	}
	if _, err := key.Sign(strings.Repeat("x", maxContext), data); err != nil {
		t.Error(err)
	}
}

func TestDefaultFiles(t *testing.T) {
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	files, err := DefaultFiles()
	if err != nil || files.Key != filepath.Join(config, "afar", "key") {
		t.Errorf("%+v, %v", files, err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Skip("no home")
	}
	for _, unset := range []string{"", "relative"} {
		t.Setenv("XDG_CONFIG_HOME", unset)
		files, err = DefaultFiles()
		dir := filepath.Join(home, ".config", "afar")
		want := Files{filepath.Join(dir, "key"), filepath.Join(dir, "authorized_keys"), filepath.Join(dir, "known_nodes")}
		if err != nil || files != want {
			t.Errorf("%+v, %v", files, err)
		}
	}
}
