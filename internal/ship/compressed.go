package ship

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

// A compressed is an image in gzip's format. Its bytes may be those of a file that somebody damages.
type compressed struct {
	bytes *io.SectionReader
	sum   string // their SHA-256 when they were made
}

// intact reads all bytes, and tells whether they are what was made.
func (c *compressed) intact() bool {
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(c.bytes, 0, c.bytes.Size()))
	return err == nil && n == c.bytes.Size() && hex.EncodeToString(sum.Sum(nil)) == c.sum
}

// CompressedSize returns the number of bytes that Compressed gives. They are made by the first call of either, and kept
// in the user's cache directory, or in memory where there is none.
func (i *Image) CompressedSize() (int64, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	c, err := i.compress()
	if err != nil {
		return 0, err
	}
	return c.bytes.Size(), nil
}

// Compressed returns a reader of the executable's bytes in gzip's format, independent of all others. The caller closes
// it. Whatever has become of what the cache kept, these are the executable's: a damaged file is made anew.
func (i *Image) Compressed() (io.ReadCloser, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	c, err := i.compress()
	if err == nil && !c.intact() {
		c, err = i.compressAnew(c.bytes.Size())
	}
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(c.bytes, 0, c.bytes.Size())), nil
}

// compressAnew replaces what was damaged. Whoever is to get the bytes knows their number already.
func (i *Image) compressAnew(size int64) (*compressed, error) {
	i.compressed = nil
	c, err := i.pack(userCache(gzipCache))
	if err != nil {
		return nil, err
	}
	i.compressed = c
	if got := c.bytes.Size(); got != size {
		return nil, fmt.Errorf("afar: the compressed image was damaged; it has been made anew, and has %d bytes now instead of %d", got, size)
	}
	return c, nil
}

// compress finds or makes the compressed image.
func (i *Image) compress() (*compressed, error) {
	if i.compressed != nil {
		return i.compressed, nil
	}
	cache := userCache(gzipCache)
	c, err := i.packed(cache)
	if err != nil {
		c, err = i.pack(cache)
	}
	if err != nil {
		return nil, err
	}
	i.compressed = c
	return c, nil
}

// packed finds the compressed image in a cache. It has the size that it was made with, and whether its bytes are right
// is looked at when they are needed, which mostly they are not. So that what is made anew then has the same size again,
// it was made by this version of Go.
func (i *Image) packed(cache cache) (*compressed, error) {
	name := i.hash + ".gz"
	file, err := cache.open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	var sum string
	if err == nil {
		sum, err = cache.said(name, packedBy(info.Size()))
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &compressed{io.NewSectionReader(file, 0, info.Size()), sum}, nil
}

// packedBy is what is said of a compressed image besides its sum.
func packedBy(size int64) string { return fmt.Sprint(" ", size, " ", runtime.Version()) }

// pack makes the compressed image, in a cache if that is possible.
func (i *Image) pack(cache cache) (*compressed, error) {
	name, sum := i.hash+".gz", sha256.New()
	file, err := cache.create(name, func(w io.Writer) error { return i.writeGzip(io.MultiWriter(w, sum)) })
	if err == nil {
		var info os.FileInfo
		if info, err = file.Stat(); err == nil {
			c := &compressed{io.NewSectionReader(file, 0, info.Size()), hex.EncodeToString(sum.Sum(nil))}
			cache.say(name, c.sum+packedBy(info.Size()))
			return c, nil
		}
		_ = file.Close()
	}
	var memory bytes.Buffer
	if err := i.writeGzip(&memory); err != nil {
		return nil, fmt.Errorf("afar: compress the image: %w", err)
	}
	whole := sha256.Sum256(memory.Bytes())
	return &compressed{io.NewSectionReader(bytes.NewReader(memory.Bytes()), 0, int64(memory.Len())), hex.EncodeToString(whole[:])}, nil
}

// writeGzip uses the fastest level: higher ones save a tenth of the size for twice the time. It fails if the
// executable's file has become another one meanwhile: nothing else must be kept by its name.
func (i *Image) writeGzip(w io.Writer) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(z, io.TeeReader(i.section(), sum)); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != i.hash {
		return errors.New("its file was changed")
	}
	return z.Close()
}
