// Package cursor is the id format of headgate: a position in one or more sources, as text.
//
//	1~<tag>.<seq36>[~<tag>.<seq36>…]
//
// The leading 1 is the version, a tag names one incarnation of a source (six characters of the base64url alphabet,
// RFC 4648 section 5), and the sequence is written in base 36. The meaning of a position is: everything up to here that
// the client is subscribed to has been sent.
//
// The text travels as the id of an event and comes back in Last-Event-ID (HTML Living Standard, section 9.2), where it is
// untrusted: Parse bounds it, and a position never opens anything that the caller may not read anyway.
package cursor

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math"
	"strconv"
	"strings"
)

const (
	// MaxEntries is the largest number of sources in one position.
	MaxEntries = 8
	// MaxLen is the longest id, in bytes.
	MaxLen = 256
	// Live as a sequence means: from now on. It stands only in positions made by the gateway and is never written.
	Live = math.MaxUint64

	version = "1"
	tagLen  = 6
)

// Tag names one incarnation of a source.
type Tag [tagLen]byte

// MakeTag derives a tag from whatever identifies the incarnation. Equal parts give equal tags.
func MakeTag(parts ...string) Tag {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	var t Tag
	copy(t[:], base64.RawURLEncoding.EncodeToString(sum[:])[:tagLen])
	return t
}

// Entry is the position in one source.
type Entry struct {
	Tag Tag
	Seq uint64
}

// Position is one entry per source, in the order of the request. A nil Position means that the client has none.
type Position []Entry

// ErrMalformed says that a text is not a position. It is never a reason to refuse a request.
var ErrMalformed = errors.New("cursor: malformed")

// Parse reads an id.
func Parse(text string) (Position, error) {
	if len(text) > MaxLen {
		return nil, ErrMalformed
	}
	rest, ok := strings.CutPrefix(text, version+"~")
	if !ok {
		return nil, ErrMalformed
	}
	parts := strings.Split(rest, "~")
	if len(parts) > MaxEntries {
		return nil, ErrMalformed
	}
	p := make(Position, len(parts))
	for i, part := range parts {
		e, err := parseEntry(part)
		if err != nil {
			return nil, err
		}
		p[i] = e
	}
	return p, nil
}

func parseEntry(s string) (Entry, error) {
	if len(s) < tagLen+2 || s[tagLen] != '.' {
		return Entry{}, ErrMalformed
	}
	var e Entry
	for i := range tagLen {
		if !tagByte(s[i]) {
			return Entry{}, ErrMalformed
		}
		e.Tag[i] = s[i]
	}
	digits := s[tagLen+1:]
	for i := range len(digits) {
		// ParseUint would also take upper case, and two texts of one position would exist.
		if c := digits[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return Entry{}, ErrMalformed
		}
	}
	if len(digits) > 1 && digits[0] == '0' {
		return Entry{}, ErrMalformed
	}
	seq, err := strconv.ParseUint(digits, 36, 64)
	if err != nil || seq == Live {
		return Entry{}, ErrMalformed
	}
	e.Seq = seq
	return e, nil
}

func tagByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_'
}

// Append writes the id behind dst.
func (p Position) Append(dst []byte) []byte {
	dst = append(dst, version...)
	for _, e := range p {
		dst = append(dst, '~')
		dst = append(dst, e.Tag[:]...)
		dst = append(dst, '.')
		dst = strconv.AppendUint(dst, e.Seq, 36)
	}
	return dst
}

// String is the id.
func (p Position) String() string { return string(p.Append(nil)) }

// Seq is the sequence in the source with the tag, and whether the position has one.
func (p Position) Seq(tag Tag) (uint64, bool) {
	for _, e := range p {
		if e.Tag == tag {
			return e.Seq, true
		}
	}
	return 0, false
}

// sourceLen is how many characters of a SourceTag name the source; the others name its incarnation.
const sourceLen = 2

// SourceTag is a tag that also tells another incarnation of the same source from a foreign one: its first two characters come
// from the name of the source alone, the last four from both.
//
// Two sources look like one with a probability of 1/4096, and then a foreign position is called one of another incarnation; the client
// is told of a gap either way. Two incarnations of one source have the same tag with a probability of 1/2^24 (two sources:
// 1/2^36): a position of the old one would then be taken for one of the new one.
func SourceTag(source, incarnation string) Tag {
	t := MakeTag("incarnation", source, incarnation)
	name := MakeTag("source", source)
	copy(t[:sourceLen], name[:sourceLen])
	return t
}

// SameSource says whether two SourceTags are, but for a collision, of the same source.
func (t Tag) SameSource(other Tag) bool { return [sourceLen]byte(t[:]) == [sourceLen]byte(other[:]) }
