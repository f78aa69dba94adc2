// Package encode turns messages into frames: the data modes, the envelope and the event type of a format. A message is encoded
// once per format, however many clients follow it.
package encode

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/sse"
	"headgate/internal/subject"
)

// TypeHeader is the message header by which a publisher names the event type, where the route fixes none.
const TypeHeader = "Sse-Event"

// Message is what there is to encode. Its fields are only read.
type Message struct {
	Subject string
	Data    []byte
	Header  map[string][]string // nil when the message has none
	ID      string              // the message's own position, for the envelope; made by ID, "" when it has none
	At      int64               // Unix nanoseconds
}

// Result is a frame, or why there is none.
type Result struct {
	Frame   *sse.Frame
	Refused bool       // no frame: a $gap of this reason takes its place
	Reason  gap.Reason // when refused
	BadType bool       // the event type could not be relayed and became "message"
}

// Format is a flow.Format made ready for use. It is immutable.
type Format struct {
	flow.Format
	headers []string
}

// Compile prepares a format.
func Compile(f flow.Format) *Format {
	c := &Format{Format: f}
	for name := range strings.SplitSeq(f.Headers, ",") {
		if name = strings.TrimSpace(name); name != "" {
			c.headers = append(c.headers, name)
		}
	}
	return c
}

// WantsID says whether the format's frames show the message's own position.
func (f *Format) WantsID() bool { return f.IDs && f.Envelope == "headgate" }

// Encode makes the frame of a message.
func (f *Format) Encode(m *Message) Result {
	if f.MaxBytes > 0 && len(m.Data) > f.MaxBytes {
		return Result{Refused: true, Reason: gap.TooLarge}
	}
	if f.Data == "json" && !(utf8.Valid(m.Data) && json.Valid(m.Data)) {
		return Result{Refused: true, Reason: gap.Invalid}
	}
	eventType, ok := f.eventType(m)
	if f.Envelope == "headgate" {
		return Result{Frame: sse.NewFrame(eventType, f.envelope(m)), BadType: !ok}
	}
	data := m.Data
	if f.Data == "base64" {
		data = base64.StdEncoding.AppendEncode(make([]byte, 0, base64.StdEncoding.EncodedLen(len(data))), data)
	}
	return Result{Frame: sse.NewFrame(eventType, data), BadType: !ok}
}

// eventType is the route's, fixed or a token of the subject, or else the publisher's. What cannot be relayed becomes
// "message", and ok is false.
func (f *Format) eventType(m *Message) (name string, ok bool) {
	switch {
	case f.Event != "":
		name = f.Event
	case f.Token >= 0:
		name, ok = subject.Token(m.Subject, f.Token)
		if !ok {
			return sse.Message, false
		}
	default:
		values := m.Header[TypeHeader]
		if len(values) == 0 {
			return sse.Message, true
		}
		name = values[0]
	}
	if !sse.ValidType(name) {
		return sse.Message, false
	}
	return name, true
}

// ID writes the position of one message: the text that Last-Event-ID would have, were it the only source.
func ID(prefix string, seq uint64) string {
	b := make([]byte, 0, len(prefix)+13)
	return string(strconv.AppendUint(append(b, prefix...), seq, 36))
}
