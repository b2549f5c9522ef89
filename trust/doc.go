// Package trust says who is at the other end of a link, and whether they may
// be there: Ed25519 keys, the files that name them, the handshake that proves
// them, and signatures.
//
// Everything looks and feels like ssh's. A [Key] is an identity, kept in a
// file that only its owner reads. A node has [AuthorizedKeys], one line for
// every caller it lets in, with limits in front of the key. A caller has
// [KnownNodes], one line for every node it knows. [Client] and [Server] do the
// handshake on a connection: TLS 1.3 with keys pinned on both sides, then the
// node's verdict. When they have returned, both sides know each other, and
// until then neither has sent or decoded anything else.
//
// The rules, in one place:
//
//   - A certificate is only an envelope for a key: exactly one, self-signed,
//     Ed25519. Its names and dates mean nothing, so no clock can lock anyone out.
//   - TLS 1.3 and the protocol name afar/1 are required on both sides. Sessions
//     are never resumed, so there is nothing to replay.
//   - What is not understood is refused. A file with a line that cannot be
//     parsed lets nobody in, and the error names the line.
//   - authorized_keys is read again at every handshake: a key that is removed or
//     marked revoked is refused from then on. Links that are open stay open.
//   - A refused caller learns that its key is not authorised, never why. The
//     node's owner gets the reason as an error.
package trust
