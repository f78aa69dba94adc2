// Package flow holds the types through which events flow from bridge to delivery, and the request that gateway makes for them.
// It has no logic: bridge and delivery know these types and not each other.
package flow

import (
	"errors"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/sse"
)

// Event is one step of a source: a frame, and the position behind it. A nil Frame moves the position alone.
type Event struct {
	Frame *sse.Frame
	Entry int    // which entry of the position moves
	Seq   uint64 // where it moves to; never backwards
	At    int64  // when the message reached this process, Unix nanoseconds; 0 when unknown. For latency only
}

// Sink takes the events of a source in the order in which they happened. Push must be quick: its caller serves everybody.
type Sink interface {
	Push(Event)
}

// Batch answers a Read.
type Batch struct {
	Events []Event // in order; a $gap is an event like any other
	Done   bool    // true: everything up to the asked position has been given. false: read on behind the last event
	Err    error   // not nil: the source is lost to this reader
}

// History reads what a source has already had.
type History interface {
	// Read asks for the events in (from, to], about maxBytes of them. done is called exactly once, from any goroutine, perhaps
	// before Read returns. Read does not block. from and to have the entries of the position that Attach returned.
	Read(from, to cursor.Position, maxBytes int, done func(Batch))
}

// Source is a set of NATS sources opened for one request, its interest confirmed by NATS. Whoever holds it closes it once.
type Source interface {
	History
	// Attach makes every event from now on go to sink, and returns the position they start behind. Once only.
	Attach(sink Sink) cursor.Position
	// Progress raises the entries of p to what has certainly been pushed to the sink by now, also where nothing was.
	Progress(p cursor.Position)
	// Close detaches the sink and releases the interest. After it returns no Push comes any more.
	Close()
}

// Kind says where a source's events come from.
type Kind uint8

// The kinds of sources.
const (
	Core Kind = iota // core NATS subjects: live, with a short ring for quick reconnects
)

// Spec is one source of a route, its placeholders filled in.
type Spec struct {
	Name     string // the route's name for it: what $gap calls it
	Kind     Kind
	Subjects []string      // core: subjects and wildcards, none covered by another
	RingSize int           // core: events kept per subject for quick reconnects, 0 = none
	RingAge  time.Duration // core: how long
}

// Request asks bridge for sources.
type Request struct {
	Sources []Spec
	Format  Format
	Cursor  string // Last-Event-ID as the client sent it; "" when it sent none
}

// Opened is what bridge answers.
type Opened struct {
	Source Source
	Start  Start
	From   cursor.Position // Start == Replay: where to read from, in the source's entries; cursor.Live in an entry that starts live
	Gaps   []*sse.Frame    // $gap frames to send before anything else
}

// Start is the position field of $ready.
type Start string

// How a stream starts.
const (
	Live   Start = "live"
	Replay Start = "replay"
)

// Format says how a message becomes a frame. It comes from the route, never from the request, so equal formats share frames.
type Format struct {
	Data     string // text, json, base64
	Envelope string // none, headgate
	Event    string // fixed event type, or ""
	Token    int    // subject token that gives the event type, counted from 0; -1 for none
	Headers  string // comma list, in order, of the message headers an envelope may show
	MaxBytes int    // larger payloads become a $gap; 0 = no bound
	IDs      bool   // the envelope shows ids
}

// Ack says what became of a published message.
type Ack struct {
	Stream string // the stream that stored it; "" when NATS took it and nothing stored it
	Seq    uint64 // its place there
}

// What Open fails with. Wrapped errors carry the detail for the log; clients never see it.
var (
	ErrUnavailable = errors.New("NATS is not connected")
	ErrUnconfirmed = errors.New("NATS did not confirm the subscription in time")
	ErrRefused     = errors.New("NATS refused the subscription")
	ErrTopics      = errors.New("too many topics")
	ErrClosed      = errors.New("closed")
)
