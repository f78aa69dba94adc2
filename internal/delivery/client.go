package delivery

import (
	"time"

	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// Policy is how a group's clients are treated. It comes from the route and never changes.
type Policy struct {
	Heartbeat       time.Duration // longest silence
	HeartbeatEvent  *sse.Frame    // sent instead of a comment when the position has not moved; nil = comment
	IDs             bool          // blocks carry ids
	DropOldest      bool          // at the bounds: jump to the head and say so, instead of ending the stream
	SlowGaps        []JumpGap     // what a jump says: one per source
	BufferBytes     int           // how far a blocked client may fall behind
	BufferEvents    int           // the same in events; 0 = no bound
	BufferAge       time.Duration // the same in time; 0 = no bound
	EventsPerSecond float64       // that a client is sent; those of one second may come at once; 0 = no limit
	BytesPerSecond  int           // the same in bytes; 0 = no limit
	RateGaps        []JumpGap     // what a jump says that is because of them
	WriteTimeout    time.Duration // a blocked client that takes nothing for so long is ended
}

// JumpGap is the $gap of a jump for one source.
type JumpGap struct {
	Source string
	Live   *sse.Frame // it goes on with what happens now
	State  *sse.Frame // the state of the source follows: "next":"snapshot". Never used where it has none
}

// Client is one stream as gateway hands it over. Nothing of it is kept longer than needed: a quiet client is a slot in a table.
type Client struct {
	Tag      uint64          // gateway's own name for it; comes back in Ended
	Key      string          // clients with equal keys share a group: same sources, format, policy
	Source   flow.Source     // what it follows; delivery closes it
	Policy   *Policy         // equal for equal keys
	Head     []byte          // status line and header fields, for Handover only; the body ends with the connection
	Retry    time.Duration   // reconnection time to tell it
	Ready    *sse.Frame      // $ready
	Gaps     []*sse.Frame    // $gap blocks that follow $ready
	From     cursor.Position // where to read from, cursor.Live in entries that start live; nil = live altogether
	State    any             // the source's notes for the first Ask, with From
	Bare     bool            // $ready and Gaps carry no id: a snapshot follows, and a client that is cut before its end must not be taken for one that has it
	Lifetime time.Duration   // ends it with Lifetime; 0 = never
	Expires  time.Time       // when the identity ends, and the stream with it, with TokenExpired; zero = never
	Notice   time.Duration   // how long before that the client is told with $expiring; 0 = it is not
}

// Ended is told to Config.OnEnd for every client that had been taken.
type Ended struct {
	Tag      uint64
	Reason   Reason
	Duration time.Duration
	Events   uint64
	Bytes    uint64
}
