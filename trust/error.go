package trust

import "errors"

// Why a caller is not let in; [Server] and [AuthorizedKeys.Lookup] return them
// wrapped, with the key, the file and the line. The caller sees ErrRefused.
// ErrAuthorized is only of [AuthorizedKeys.Append].
var (
	// ErrUnknownKey means that no line of authorized_keys has the key.
	ErrUnknownKey = errors.New("the key is not authorised")
	// ErrAuthorized means that authorized_keys has a line for the key already.
	ErrAuthorized = errors.New("the key is authorised already")
	// ErrRevoked means that a line for the key is marked revoked.
	ErrRevoked = errors.New("the key is revoked")
	// ErrExpired means that the line for the key had an end, which has passed.
	ErrExpired = errors.New("the key's authorisation has expired")
	// ErrWrongAddress means that the key is good, but not from this address.
	ErrWrongAddress = errors.New("the key is not authorised from this address")
)

// Why a node is not trusted, or does not trust; [Client] returns them wrapped.
var (
	// ErrUnknownNode means that known_nodes has no line for the node's address.
	ErrUnknownNode = errors.New("the node is not known")
	// ErrNodeChanged means that the node's key is another than the one expected:
	// someone may be answering in its place.
	ErrNodeChanged = errors.New("THE NODE'S KEY HAS CHANGED")
	// ErrRefused means that the node, which is the right one, does not let this
	// caller in.
	ErrRefused = errors.New("refused by the node")
)
