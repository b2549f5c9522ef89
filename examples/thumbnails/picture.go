package main

import (
	"bufio"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// readPicture reads a PNG or JPEG file.
func readPicture(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	picture, _, err := image.Decode(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return picture, nil
}

// writePicture writes a file of the kind that its name says, all at once: nobody sees a part of
// it, whatever happens meanwhile. Who is killed in the middle leaves a part behind, which the
// next attempt takes away; should somebody still be writing it, that one has failed.
func writePicture(path string, picture image.Image, attempt int) error {
	for earlier := range attempt {
		_ = os.Remove(part(path, earlier)) // there is seldom one
	}
	f, err := os.Create(part(path, attempt))
	if err != nil {
		return err
	}
	err = encode(f, picture, strings.ToLower(filepath.Ext(path)))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// part is where a file is written until it is complete.
func part(path string, attempt int) string {
	dir, name := filepath.Split(path)
	return fmt.Sprintf("%s.%s.%d", dir, name, attempt)
}

func encode(w io.Writer, picture image.Image, kind string) error {
	if kind == ".png" {
		return png.Encode(w, picture)
	}
	return jpeg.Encode(w, picture, nil)
}

// shrink makes a picture fit into a square, with a box filter: a point of the small one is the
// average of those of the large one that it stands for. One that fits is returned as
// it is.
func shrink(picture image.Image, square int) image.Image {
	b := picture.Bounds()
	scale := float64(square) / float64(max(b.Dx(), b.Dy()))
	if scale >= 1 {
		return picture
	}
	width, height := max(1, int(float64(b.Dx())*scale)), max(1, int(float64(b.Dy())*scale))
	small := image.NewNRGBA64(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			small.Set(x, y, average(picture, image.Rect(
				b.Min.X+x*b.Dx()/width, b.Min.Y+y*b.Dy()/height,
				b.Min.X+(x+1)*b.Dx()/width, b.Min.Y+(y+1)*b.Dy()/height)))
		}
	}
	return small
}

// average is the average color of a part of a picture.
func average(picture image.Image, box image.Rectangle) color.Color {
	var red, green, blue, alpha uint64
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			r, g, b, a := picture.At(x, y).RGBA()
			red, green, blue, alpha = red+uint64(r), green+uint64(g), blue+uint64(b), alpha+uint64(a)
		}
	}
	n := uint64(box.Dx() * box.Dy())
	return color.RGBA64{uint16(red / n), uint16(green / n), uint16(blue / n), uint16(alpha / n)}
}

// draw draws the i-th of the pictures that this program makes itself.
func draw(i int) image.Image {
	picture := image.NewRGBA(image.Rect(0, 0, 320+32*(i%5), 240))
	for y := range 240 {
		for x := range picture.Bounds().Dx() {
			wave := math.Sin(float64(x*(i+1))/97) + math.Cos(float64(y)/31)
			picture.SetRGBA(x, y, color.RGBA{uint8(x), uint8(y), uint8(127 + 60*wave), 255})
		}
	}
	return picture
}
