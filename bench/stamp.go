//go:build linux

package main

import (
	"bytes"
	"time"
)

// A stamp is what the load generator recognises a message by: '^', the sequence in 8 hexadecimal digits, the time of
// publication in 16. '^' stands nowhere else in a stream: ids, heads and padding do not contain it.
const (
	stampMark = '^'
	stampLen  = 1 + 8 + 16
)

const hexDigits = "0123456789abcdef"

// epoch is the zero of now. Publisher and swarm live in one process, so a monotonic clock of that process is enough.
var epoch = time.Now()

// now is monotonic nanoseconds since epoch.
func now() int64 { return int64(time.Since(epoch)) }

// newPayload makes a JSON payload of about size bytes with room for a stamp, and says where the stamp goes.
func newPayload(size int) (payload []byte, at int) {
	const head, middle, tail = `{"stamp":"`, `","pad":"`, `"}`
	pad := max(0, size-len(head)-stampLen-len(middle)-len(tail))
	payload = append(payload, head...)
	payload = append(payload, bytes.Repeat([]byte{'0'}, stampLen)...)
	payload = append(payload, middle...)
	payload = append(payload, bytes.Repeat([]byte("lorem ipsum dolor "), pad/18+1)[:pad]...)
	return append(payload, tail...), len(head)
}

// putStamp writes a stamp over the first stampLen bytes of dst.
func putStamp(dst []byte, seq uint32, at int64) {
	dst[0] = stampMark
	for i := 8; i >= 1; i-- {
		dst[i] = hexDigits[seq&15]
		seq >>= 4
	}
	for i := stampLen - 1; i > 8; i-- {
		dst[i] = hexDigits[at&15]
		at >>= 4
	}
}

// parseStamp reads a stamp that begins at b[0]. ok is false when something else was written into it, a chunk header for
// instance: that is counted as malformed, never skipped in silence.
func parseStamp(b []byte) (seq uint32, at int64, ok bool) {
	_ = b[stampLen-1]
	bad := byte(0)
	for _, c := range b[1:9] {
		v := unhex[c]
		bad |= v
		seq = seq<<4 | uint32(v&15)
	}
	for _, c := range b[9:stampLen] {
		v := unhex[c]
		bad |= v
		at = at<<4 | int64(v&15)
	}
	return seq, at, bad < 16
}

// unhex maps a digit to its value and everything else to 0xf0.
var unhex = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xf0
	}
	for i, c := range []byte(hexDigits) {
		t[c] = byte(i)
	}
	return t
}()
