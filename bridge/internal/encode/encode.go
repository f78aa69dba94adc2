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

	Key  string // of a bucket: stands in the envelope, and for rules about tokens, in place of the subject; "" of anything else
	Type string // the source's own event type, which counts where the route fixes none; "" when the source has none
	Gone bool   // there is no value, as when a key was deleted. Data does not count
}

// Result is a frame, or why there is none.
type Result struct {
	Frame   *sse.Frame
	Refused bool       // no frame: a $gap of this reason takes its place
	Reason  gap.Reason // when refused
	BadType bool       // the event type could not be relayed and became "message"
	Last    bool       // the format's end: nothing follows this message, whether there is a frame of it or not
}

// Format is a flow.Format made ready for use. It is immutable.
type Format struct {
	flow.Format
	headers []string
	event   *cloudEvent // nil: another envelope
	end     *end        // nil: no message is the last
}

// Of is the format of one source of a route: where the envelope names sources, each has frames of its own.
func Of(f flow.Format, source string) flow.Format {
	if f.Named {
		f.Name = source
	}
	return f
}

// Compile prepares a format.
func Compile(f flow.Format) *Format {
	c := &Format{Format: f, end: compileEnd(f.EndField, f.EndIn)}
	for name := range strings.SplitSeq(f.Headers, ",") {
		if name = strings.TrimSpace(name); name != "" {
			c.headers = append(c.headers, name)
		}
	}
	c.event = compileCloudEvent(f, c.headers)
	return c
}

// WantsID says whether the format's frames show the message's own position. A CloudEvent is nothing without an id.
func (f *Format) WantsID() bool { return f.event != nil || f.IDs && f.Envelope == "headgate" }

// Encode makes the frame of a message.
func (f *Format) Encode(m *Message) Result {
	r := f.encode(m)
	r.Last = f.end != nil && !m.Gone && f.end.metBy(m.Data)
	return r
}

func (f *Format) encode(m *Message) Result {
	switch {
	case m.Gone: // there is nothing that could be refused
	case f.MaxBytes > 0 && len(m.Data) > f.MaxBytes:
		return Result{Refused: true, Reason: gap.TooLarge}
	case f.Data == "json" && !(utf8.Valid(m.Data) && json.Valid(m.Data)):
		return Result{Refused: true, Reason: gap.Invalid}
	}
	eventType, ok := f.eventType(m)
	data := m.Data
	switch {
	case f.Envelope == "headgate":
		data = f.envelope(m)
	case f.event != nil:
		var is bool
		if data, is = f.event.encode(m, f.Data, eventType); !is {
			return Result{Refused: true, Reason: gap.Invalid}
		}
	case m.Gone && f.Data == "json":
		data = []byte("null") // still what the route promises
	case m.Gone:
		data = nil
	case f.Data == "base64":
		data = base64.StdEncoding.AppendEncode(make([]byte, 0, base64.StdEncoding.EncodedLen(len(data))), data)
	}
	return Result{Frame: sse.NewFrame(eventType, data), BadType: !ok}
}

// eventType is the route's, fixed or a token of the subject or key, or else the source's own, or else the publisher's. What cannot be
// relayed becomes "message", and ok is false.
func (f *Format) eventType(m *Message) (name string, ok bool) {
	switch {
	case f.Event != "":
		name = f.Event
	case f.Token >= 0:
		tokens := m.Subject
		if m.Key != "" {
			tokens = m.Key
		}
		if name, ok = subject.Token(tokens, f.Token); !ok {
			return sse.Message, false
		}
	case m.Type != "":
		name = m.Type
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
