package natsq

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxSlug is how much of a queue's name can be read in its token.
const maxSlug = 40

// token makes a queue's name one that subjects, streams and file systems take, also those
// that do not tell A from a: what can be read of it, and the beginning of its hash.
func token(queueName string) string {
	slug := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, queueName)
	hash := sha256.Sum256([]byte(queueName))
	return slug[:min(len(slug), maxSlug)] + "-" + hex.EncodeToString(hash[:12])
}

// names are those that a broker's things have in the server. Everything begins with the
// prefix.
type names struct{ prefix string }

// log is the stream, and the subject, of a queue's records.
func (n names) log(token string) string        { return n.prefix + "_queue_" + token }
func (n names) logSubject(token string) string { return n.prefix + ".log." + token }

// keeper is the subject of requests to who keeps a queue.
func (n names) keeper(token string) string { return n.prefix + ".keeper." + token }

// summon is the subject of requests to an embedded server's broker to keep a queue.
func (n names) summon() string { return n.prefix + ".summon" }

// hello is the subject on which those who begin to keep a queue say so.
func (n names) hello(token string) string { return n.prefix + ".hello." + token }

// blobs is the stream of the parts of a queue's blobs, and parts the subject of those of
// an upload.
func (n names) blobs(token string) string         { return n.prefix + "_blobs_" + token }
func (n names) parts(token, upload string) string { return n.prefix + ".blob." + token + "." + upload }

// queueKey is where a stream's metadata has the name of its queue.
const queueKey = "afar-queue"
