package codec

// AppendParts returns the encoding of v in two parts that belong together: head
// is dst with what was appended to it, and body is nil or the bytes of v itself,
// which are then not copied. Errors are those of Append.
func (c *Codec[T]) AppendParts(dst []byte, v T) (head, body []byte, err error) {
	if c.bytesOf == nil {
		head, err = c.Append(dst, v)
		return head, nil, err
	}
	if body = c.bytesOf(v); body == nil {
		return append(dst, byteNull), nil, nil
	}
	return appendHead(dst, majorBytes, uint64(len(body))), body, nil
}

// DecodeOwned is Decode of data that belongs to the result from then on: a byte
// string is not copied.
func (c *Codec[T]) DecodeOwned(data []byte) (T, error) {
	if c.ofBytes != nil {
		if major, arg, size := head(data); size > 0 && major == majorBytes && arg == uint64(len(data)-size) {
			return c.ofBytes(data[size:]), nil
		}
	}
	return c.Decode(data)
}

// identity returns the functions between T and []byte if T is []byte.
func identity[T any]() (bytesOf func(T) []byte, ofBytes func([]byte) T) {
	same := func(b []byte) []byte { return b }
	bytesOf, _ = any(same).(func(T) []byte)
	ofBytes, _ = any(same).(func([]byte) T)
	return bytesOf, ofBytes
}

// Bytes returns the byte string that data is the encoding of, within data; nil
// for null.
func Bytes(data []byte) ([]byte, error) {
	if len(data) == 1 && data[0] == byteNull {
		return nil, nil
	}
	if major, arg, size := head(data); size > 0 && major == majorBytes && arg == uint64(len(data)-size) {
		return data[size:], nil
	}
	return nil, &Error{Type: "[]byte", Reason: "not a byte string"}
}
