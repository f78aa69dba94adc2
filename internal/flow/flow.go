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
	Entry int        // which entry of the position moves
	Seq   uint64     // where it moves to; never backwards, unless there is a Tag
	At    int64      // when the message reached this process, Unix nanoseconds; 0 when unknown. For latency only
	Tag   cursor.Tag // not zero: the source begins again, the entry becomes exactly this tag and Seq
	Bare  bool       // the block carries no id: a client that is cut here comes back with the one before
	End   End        // the stream ends behind this event
	// Again: not nil, and there is a Frame: whoever has been given the event, or has passed over it, reads on. So a source gives its
	// followers a fresh state. It makes the notes for the next Ask of a client from those that there are, nil for one that is live; no Ask
	// with them is under way. It may be called many times, by any goroutine, and must be quick.
	Again func(state any) any
}

// End says how an event ends the streams that it reaches.
type End uint8

// The ends that come from a source.
const (
	GoesOn End = iota // it does not
	Done              // nothing follows, ever: the route's end.when is met
	Lost              // the source is gone, and has not come back in time
)

// Sink takes the events of a source in the order in which they happened. Push must be quick: its caller serves everybody.
type Sink interface {
	Push(Event)
}

// Ask is what a reading client wants next. Its positions have the entries of the position that Attach returned.
type Ask struct {
	From, To cursor.Position // the events in (From, To]
	MaxBytes int             // about so many bytes of them
	State    any             // the source's own notes on this client: Opened.State, then what each Batch says
}

// Batch answers a Read.
type Batch struct {
	Events []Event // in order; a $gap is an event like any other
	// Done: everything up to the asked position has been given, or more, where a snapshot is younger. Otherwise read on behind the
	// last event.
	Done  bool
	State any   // for the next Ask
	Err   error // not nil: the source is lost to this reader
}

// History reads what a source has already had.
type History interface {
	// Read calls done exactly once, from any goroutine, perhaps before it returns. It does not block. Its source may be closed
	// meanwhile; done is called all the same.
	Read(ask Ask, done func(Batch))
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

// Stateful is a Source of which some entries of the position have a state: whoever has passed over events of such an entry reads it anew,
// since what it has would stay wrong.
type Stateful interface {
	// States are those entries. They are asked for behind Attach, and stay the same.
	States() []StateEntry
}

// StateEntry is an entry of the position that has a state.
type StateEntry struct {
	Entry  int
	Source string              // its Spec.Name
	Again  func(state any) any // as Event.Again
}

// Kind says where a source's events come from.
type Kind uint8

// The kinds of sources.
const (
	Core   Kind = iota // core NATS subjects: live, with a short ring for quick reconnects
	Stream             // subjects of a JetStream stream: every message from any position that the stream still has
	KV                 // keys of a Key-Value bucket: current values, then changes
)

// Spec is one source of a route, its placeholders filled in.
type Spec struct {
	Name     string // the route's name for it: what $gap calls it
	Kind     Kind
	Stream   string   // stream: its name; kv: the name of the bucket
	Subjects []string // subjects and wildcards, none covered by another; kv: keys and wildcards

	RingSize int           // core: events kept per subject for quick reconnects, 0 = none
	RingAge  time.Duration // core: how long

	Bounds  Bounds  // stream: of what a client gets that comes back
	Initial Initial // stream: what a client gets that comes for the first time
}

// Bounds are those of a replay: of what a client missed it gets the newest, and a $gap for the rest. 0 = no bound.
type Bounds struct {
	MaxEvents int
	MaxBytes  int64
	MaxAge    time.Duration
	Snapshot  bool // on_gap: snapshot. A hole is followed by a fresh initial state
}

// Initial is the initial state of a stream source.
type Initial struct {
	Mode  SnapshotMode
	Since time.Duration // SnapshotSince: how far back
}

// SnapshotMode says which messages are the initial state.
type SnapshotMode string

// The modes, in the words of the routes file.
const (
	NoSnapshot     SnapshotMode = ""
	LastPerSubject SnapshotMode = "last_per_subject"
	LastMessage    SnapshotMode = "last"
	AllMessages    SnapshotMode = "all"
	SnapshotSince  SnapshotMode = "since"
)

// Request asks bridge for sources.
type Request struct {
	Sources []Spec
	Format  Format
	Cursor  string    // Last-Event-ID as the client sent it; "" when it sent none
	Since   time.Time // without a Cursor: where streams begin to replay; zero = not asked for
	User    string    // who is reading, for fairness among those who read history; never shown
}

// Opened is what bridge answers.
type Opened struct {
	Source Source
	Start  Start
	From   cursor.Position // Start != Live: where to read from, in the source's entries; cursor.Live in an entry that starts live
	State  any             // Start != Live: for the first Ask
	Gaps   []*sse.Frame    // $gap frames to send before anything else
}

// Start is the position field of $ready.
type Start string

// How a stream starts.
const (
	Live     Start = "live"
	Replay   Start = "replay"
	Snapshot Start = "snapshot" // no block carries an id before $snapshot
)

// Format says how a message becomes a frame. It comes from the route, never from the request, so equal formats share frames.
type Format struct {
	Data     string // text, json, base64
	Envelope string // none, headgate, cloudevents
	Source   string // cloudevents: the source of what headgate makes an event of
	Event    string // fixed event type, or ""
	Token    int    // subject token that gives the event type, counted from 0; -1 for none
	Headers  string // comma list, in order, of the message headers an envelope may show
	MaxBytes int    // larger payloads become a $gap; 0 = no bound
	IDs      bool   // the envelope shows ids
	Named    bool   // the envelope names the source of each message: the route has several
	Name     string // which one that is, its Spec.Name; bridge fills it in where Named, so that each source has a format of its own
	EndField string // the message whose JSON payload has one of EndIn in this field ends the stream; "" = none does
	EndIn    string // JSON values, one per line
}

// Ack says what became of a published message.
type Ack struct {
	Stream string // the stream that stored it; "" when NATS took it and nothing stored it
	Seq    uint64 // its place there
}

// What Open and Publish fail with. Wrapped errors carry the detail for the log; clients never see it.
var (
	ErrUnavailable = errors.New("NATS is not connected")
	ErrUnconfirmed = errors.New("NATS did not confirm the subscription in time")
	ErrRefused     = errors.New("NATS does not permit it")
	ErrTopics      = errors.New("too many topics")
	ErrClosed      = errors.New("closed")
	ErrTooLarge    = errors.New("larger than NATS allows")
	ErrNotStored   = errors.New("the stream has not stored the message")
	ErrMissing     = errors.New("the stream or bucket does not exist, or may not be read")
	ErrFinished    = errors.New("the stream has ended, and the client has seen its end")
)
