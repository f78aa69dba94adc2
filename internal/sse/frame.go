// Package sse is the wire format of event streams (HTML Living Standard, section 9.2, "Server-sent events"): events to
// frames, and back for tests and benchmarks. It does no I/O of its own.
package sse

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxType is the longest event type that is relayed, in bytes.
const MaxType = 64

// Message is the type of an event that names none.
const Message = "message"

// Comment is the smallest thing that can be sent: a comment block without text. Clients ignore it, proxies see traffic.
const Comment = ":\n\n"

const (
	eventField = "event: "
	dataField  = "data: "
)

// Frame is one encoded event: its event and data lines, without the id, which is a matter of the stream it is sent on, and
// without the blank line that ends the block. It is immutable and shared by everyone who sends it.
type Frame struct {
	body []byte
}

// NewFrame encodes an event. An eventType that ValidType refuses must be replaced before, unless it is one of our own reserved
// ones; one with CR, LF or NUL is left out, whoever asks for it. The empty one and "message" write no event line, since that is
// what a client assumes. Data is split into data lines at LF, CR and CRLF; invalid UTF-8 is replaced by U+FFFD, because an event
// stream is UTF-8 by definition. Empty data gives one empty data line, for a block without data lines is not dispatched.
func NewFrame(eventType string, data []byte) *Frame {
	if eventType == Message || strings.ContainsAny(eventType, "\r\n\x00") {
		eventType = ""
	}
	data = toValidUTF8(data)
	lines, size := countLines(data)
	size += lines * len(dataField+"\n")
	if eventType != "" {
		size += len(eventField) + len(eventType) + 1
	}
	// Measured: putting the frame and its bytes into one allocation saves 7 ns of 60, and needs a type per size.
	body := make([]byte, 0, size)
	if eventType != "" {
		body = append(body, eventField...)
		body = append(body, eventType...)
		body = append(body, '\n')
	}
	if lines == 1 {
		body = append(body, dataField...)
		body = append(body, data...)
		body = append(body, '\n')
		return &Frame{body: body}
	}
	return &Frame{body: appendLines(body, data)}
}

// Len is the size of the frame in bytes, without id and blank line.
func (f *Frame) Len() int { return len(f.body) }

// AppendBlock writes the whole block behind dst: the frame, the id when there is one, the blank line. The id is last in the
// block because it is the only part that differs between streams; the order of fields has no meaning.
func (f *Frame) AppendBlock(dst, id []byte) []byte {
	dst = append(dst, f.body...)
	return AppendID(dst, id)
}

// AppendID writes a block that consists of an id alone, or ends the block before it. It moves a client's last event id
// without dispatching anything. An empty id writes only the blank line.
func AppendID(dst, id []byte) []byte {
	if len(id) > 0 {
		dst = append(dst, "id: "...)
		dst = append(dst, id...)
		dst = append(dst, '\n')
	}
	return append(dst, '\n')
}

// AppendRetry writes the block that sets a client's reconnection time, in milliseconds.
func AppendRetry(dst []byte, milliseconds int64) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, milliseconds, 10)
	return append(dst, "\n\n"...)
}

// blankLine ends a block. There is none inside a block, since every line that is written here has a field.
const blankLine = "\n\n"

// BlockEnd is where the block that the first at bytes of b have begun ends in b: at itself when they have begun none. b consists of whole
// blocks, written by this package.
func BlockEnd(b []byte, at int) int {
	if at == 0 {
		return 0
	}
	// The first at bytes may end with one half of the blank line, or with all of it.
	from := max(0, at-len(blankLine))
	i := bytes.Index(b[from:], []byte(blankLine))
	if i < 0 {
		return len(b)
	}
	return from + i + len(blankLine)
}

// Blocks is how many whole blocks there are in b.
func Blocks(b []byte) int { return bytes.Count(b, []byte(blankLine)) }

// ValidType says whether a publisher's event type can be relayed: 1 to MaxType bytes of UTF-8 without control characters, and
// not reserved.
func ValidType(t string) bool {
	if t == "" || len(t) > MaxType || !utf8.ValidString(t) || ReservedType(t) {
		return false
	}
	return strings.IndexFunc(t, unicode.IsControl) < 0
}

// ReservedType says whether only headgate may send events of this type. Events named open and error would fire the
// handlers a page has for the connection itself.
func ReservedType(t string) bool {
	return strings.HasPrefix(t, "$") || t == "open" || t == "error"
}
