package sse

import (
	"bytes"
	"fmt"
	"testing"
)

var sinkFrame *Frame

func BenchmarkNewFrame(b *testing.B) {
	kinds := []struct {
		name string
		make func(n int) []byte
	}{
		{"one line", func(n int) []byte { return bytes.Repeat([]byte("x"), n) }},
		{"lines of 80", func(n int) []byte {
			return bytes.Repeat([]byte(string(bytes.Repeat([]byte("x"), 79))+"\n"), n/80+1)[:n]
		}},
		{"CR only", func(n int) []byte { return bytes.Repeat([]byte("\r"), n) }},
		{"two-byte letters", func(n int) []byte { return bytes.Repeat([]byte("é"), n/2) }},
	}
	for _, k := range kinds {
		for _, n := range []int{16, 200, 4096, 1 << 20} {
			data := k.make(n)
			b.Run(fmt.Sprintf("%s/%d", k.name, n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(n))
				for b.Loop() {
					sinkFrame = NewFrame("price", data)
				}
			})
		}
	}
}

func BenchmarkAppendBlock(b *testing.B) {
	f := NewFrame("price", bytes.Repeat([]byte("x"), 200))
	id := []byte("1~abcdef.1z141z")
	dst := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		dst = f.AppendBlock(dst[:0], id)
	}
}
