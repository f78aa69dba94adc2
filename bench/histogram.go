//go:build linux

package main

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are 1/32 wide, so a quantile is at most 3 % too high. Recording does not allocate.
type Histogram struct {
	buckets [64 * 32]uint64
	n       uint64
}

func bucketOf(ns int64) int {
	v := uint64(max(ns, 0))
	if v < 32 {
		return int(v)
	}
	shift := bits.Len64(v) - 6
	return shift*32 + int(v>>shift)
}

// upper is the largest value of a bucket.
func upper(b int) int64 {
	if b < 64 {
		return int64(b)
	}
	shift := b/32 - 1
	return int64(b-shift*32+1)<<shift - 1
}

// Record counts one duration in nanoseconds.
func (h *Histogram) Record(ns int64) {
	h.buckets[bucketOf(ns)]++
	h.n++
}

// Quantile is the duration that the share q of all recorded ones did not exceed; 0 when none was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := uint64(q * float64(h.n))
	var seen uint64
	for b, n := range h.buckets {
		seen += n
		if n > 0 && seen >= max(want, 1) {
			return time.Duration(upper(b))
		}
	}
	return 0
}

// Add takes in what another histogram has counted.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.n += o.n
}
